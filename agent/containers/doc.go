// Package containers asks the Mesos agent of the host which containers it
// runs. Mesos tells a CNI plugin only the container id; the executor that the
// container belongs to, which is the endpoint's identity, is known here.
//
//	CNI_CONTAINERID ─▶ Client.List ─▶ POST /api/v1 GET_CONTAINERS ─▶ framework id, executor id
package containers
