package canon

import (
	"hash/maphash"
	"sync/atomic"
	"unique"
)

// recent holds strings that were shared lately, each in the place that its hash
// names: to look there costs a fraction of what package unique costs.
var recent [2048]atomic.Pointer[string]

var seed = maphash.MakeSeed()

// maxRecent bounds a string in recent, in bytes, and so what it keeps alive.
const maxRecent = 256

// Shared is a string of these bytes, and one with those that were asked for
// before.
func Shared(s []byte) string {
	if len(s) == 0 {
		return ""
	}
	if len(s) > maxRecent {
		return unique.Make(string(s)).Value()
	}
	at := &recent[maphash.Bytes(seed, s)%uint64(len(recent))]
	if p := at.Load(); p != nil && *p == string(s) {
		return *p
	}
	one := unique.Make(string(s)).Value()
	at.Store(&one)
	return one
}
