// Package wire is how the simulated Mesos speaks on a connection: its JSON,
// its protobuf, its RecordIO streams and the rules of its HTTP endpoints.
//
//	POST ──▶ Endpoint.Open: auth, method, Content-Type, body, Accept
//	            │ Exchange: which codec goes back
//	            ├─ Reply   one message, gzip if asked for
//	            └─ Stream  200 and RecordIO until the peer leaves
//
// The protobuf types and their binary encoding are mesos-go's. Its JSON is
// not used for output: it differs from what a master prints (CLUSTER-API 3.2).
package wire
