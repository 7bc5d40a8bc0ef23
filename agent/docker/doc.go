// Package docker asks the Docker daemon of the host for a container's process.
// Mesos never calls CNI for a container of its Docker containerizer, and its
// agent knows no process of it (CLUSTER-API 3.5); the daemon does.
//
//	container name "mesos-<container id>" ─▶ Client.Inspect ─▶ GET /containers/NAME/json ─▶ pid, network mode
package docker
