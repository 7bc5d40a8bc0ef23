package marathon

import (
	"regexp"
	"strings"
)

// The patterns of task ids in the order in which Marathon tries them: an app's
// or a pod's, those without an incarnation, and the two of before 1.4.
var taskIDs = []*regexp.Regexp{
	regexp.MustCompile(`^(.+)\.(instance-|marathon-)([^_\.]+)[\._]([^\.]+)\.(\d+)$`),
	regexp.MustCompile(`^(.+)\.(instance-|marathon-)([^_\.]+)[\._]([^\.]+)$`),
	regexp.MustCompile(`^(.+)([\._])([^_\.]+)(\.)(\d+)$`),
	regexp.MustCompile(`^(.+)([\._])([^_\.]+)$`),
}

// instanceOf is the instance id within a task id (CLUSTER-API 2.3).
func instanceOf(taskID string) string {
	for n, p := range taskIDs {
		switch m := p.FindStringSubmatch(taskID); {
		case m == nil:
		case n < 2:
			return m[1] + "." + m[2] + m[3]
		default:
			return m[1] + legacyMark + m[3]
		}
	}
	return taskID
}

// AppOf is the path of the app or pod that a task id names.
func AppOf(taskID string) string { return pathOf(instanceOf(taskID)) }

// legacyMark is in the instance ids that were made of task ids of before 1.4:
// <safe>.<uuid>, and <safe>.<uuid>.<n>.
const legacyMark = ".marathon-"

// pathOf is the app or pod of an instance id, which ends in its mark and a uuid.
func pathOf(instanceID string) string {
	name, _ := cutInstance(instanceID)
	return "/" + strings.ReplaceAll(name, "_", "/")
}

// cutInstance is what stands before and after the mark of an instance id: an
// app's own name may look like one as well.
func cutInstance(id string) (safe, uuid string) {
	i := max(strings.LastIndex(id, ".instance-"), strings.LastIndex(id, legacyMark))
	if i < 0 {
		return id, ""
	}
	_, uuid, _ = strings.Cut(id[i:], "-")
	return id[:i], uuid
}

// executorID is a pod's executor: instance-<safe>.<uuid>.
func executorID(instanceID string) string {
	name, uuid := cutInstance(instanceID)
	return "instance-" + name + "." + uuid
}

// reversed is the name that discovery gets: my-app.db.prod.
func reversed(id string) string {
	parts := strings.Split(strings.TrimPrefix(id, "/"), "/")
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return strings.Join(parts, ".")
}
