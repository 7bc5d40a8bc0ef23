// Package cni carries a CNI call from the plugin, which Mesos starts anew for
// each, to the agent, which has the host's picture, and the answer back.
//
//	Mesos ─ env, stdin ─▶ taskwall-cni ─ request ─▶ unix socket ─▶ Server ─▶ Handler (the agent)
//	      ◀─ stdout, exit ─           ◀─ response ─
//
// The plugin knows nothing: it hands over what it was given and prints what it
// gets. Versions, results and errors are made here, on the agent's side.
// On the socket each side sends one JSON value per connection.
package cni
