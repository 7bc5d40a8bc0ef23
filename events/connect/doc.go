// Package connect holds what both sources need to keep a connection to the
// leader of several servers.
//
//	members ──▶ follow redirects ──▶ leader ──▶ Watch (silence) ──▶ a reader of records or events
//	   └── credentials, for members alone
//
// Servers of both systems redirect to their leader. Go's client would follow,
// but drop the credentials on the way, or, told to keep them, give them to
// whatever host a redirect names. Here they go to the servers that the operator
// has named, and to no other.
package connect
