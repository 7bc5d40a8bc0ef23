package marathon

import "strings"

// instanceOf is the instance id within a task id (CLUSTER-API 2.3).
func instanceOf(taskID string) string {
	i := strings.LastIndex(taskID, ".instance-")
	if i < 0 {
		return taskID
	}
	rest := taskID[i+len(".instance-"):]
	if j := strings.IndexAny(rest, "._"); j >= 0 {
		rest = rest[:j]
	}
	return taskID[:i] + ".instance-" + rest
}

// pathOf is the app or pod of an instance id.
func pathOf(instanceID string) string {
	name, _, _ := strings.Cut(instanceID, ".instance-")
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
