package marathon

import (
	"strconv"
	"strings"
)

// instanceOf is the instance id within a task id (CLUSTER-API 2.3).
func instanceOf(taskID string) string {
	i := strings.LastIndex(taskID, ".instance-")
	if i < 0 {
		return legacyInstanceOf(taskID)
	}
	rest := taskID[i+len(".instance-"):]
	if j := strings.IndexAny(rest, "._"); j >= 0 {
		rest = rest[:j]
	}
	return taskID[:i] + ".instance-" + rest
}

// AppOf is the path of the app or pod that a task id names.
func AppOf(taskID string) string { return pathOf(instanceOf(taskID)) }

// legacyInstanceOf reads the task ids of Marathon before 1.4: <safe>.<uuid>,
// and <safe>.<uuid>.<n>.
func legacyInstanceOf(taskID string) string {
	rest := taskID
	if i := strings.LastIndexByte(rest, '.'); i >= 0 {
		if _, err := strconv.Atoi(rest[i+1:]); err == nil {
			rest = rest[:i]
		}
	}
	i := strings.LastIndexByte(rest, '.')
	if i < 0 {
		return taskID
	}
	return rest[:i] + legacyMark + rest[i+1:]
}

// legacyMark is in the instance ids that were made of such task ids.
const legacyMark = ".marathon-"

// pathOf is the app or pod of an instance id.
func pathOf(instanceID string) string {
	name, _, ok := strings.Cut(instanceID, ".instance-")
	if !ok {
		name, _, _ = strings.Cut(instanceID, legacyMark)
	}
	return "/" + strings.ReplaceAll(name, "_", "/")
}

// executorID is a pod's executor: instance-<safe>.<uuid>.
func executorID(instanceID string) string {
	name, uuid, _ := strings.Cut(instanceID, ".instance-")
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
