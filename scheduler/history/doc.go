// Package history reads what happened: from the live streams, or from streams
// restored from a backup of NATS. Questions of an audit are answered the same
// from each.
package history
