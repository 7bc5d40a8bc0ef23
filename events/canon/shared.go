package canon

import (
	"hash/maphash"
	"sync/atomic"
	"unique"
)

// recent holds strings that were shared lately, each in the place that its hash
// names: to look there costs a fraction of what package unique costs. There are
// several times as many places as a large cluster has hosts: two strings that
// share a place, and come in turns, are looked up in package unique each time.
var recent [1 << 15]atomic.Pointer[string]

// recentMaps holds maps that were read lately, in the same way.
var recentMaps [2048]atomic.Pointer[readText]

// readText is a map with the text of which it was read.
type readText struct {
	text string
	m    map[string]string
}

var seed = maphash.MakeSeed()

func place(s []byte) uint64 { return maphash.Bytes(seed, s) }

// maxRecent bounds a string in recent, maxMap the text of a map in recentMaps,
// in bytes, and so what they keep alive.
const (
	maxRecent = 256
	maxMap    = 1024
)

// Shared is a string of these bytes, and one with those that were asked for
// before.
func Shared(s []byte) string {
	if len(s) == 0 {
		return ""
	}
	if len(s) > maxRecent {
		return unique.Make(string(s)).Value()
	}
	at := &recent[place(s)%uint64(len(recent))]
	if p := at.Load(); p != nil && *p == string(s) {
		return *p
	}
	one := unique.Make(string(s)).Value()
	at.Store(&one)
	return one
}
