package firewall

import (
	"hash/maphash"

	"github.com/taskwall/taskwall/agent/ipset"
)

// sum stands for a set's elements, in any order. It grows and shrinks with them,
// so a set of 100,000 members that nobody touched is compared in no time.
type sum struct {
	n    int
	hash uint64 // of all elements, added up
}

// sumSeed makes it impossible to choose elements for their sum.
var sumSeed = maphash.MakeSeed()

func (s *sum) add(e ipset.Entry) {
	s.n++
	s.hash += maphash.Comparable(sumSeed, e)
}

func (s *sum) remove(e ipset.Entry) {
	s.n--
	s.hash -= maphash.Comparable(sumSeed, e)
}

// changed keeps what a set holds after an edit that the kernel took. An element
// that was added twice, or removed without being there, makes the sum wrong: then
// the check compares element by element, and knows it again.
func (f *Firewall) changed(e ipset.Edit) {
	s, known := f.sums[e.Set]
	if !known {
		return
	}
	for _, en := range e.Entries {
		if e.Remove {
			s.remove(en)
		} else {
			s.add(en)
		}
	}
	f.sums[e.Set] = s
}

// untouched says that the look found in a set just what was last written there,
// and that this is as many elements as the picture has members.
func (f *Firewall) untouched(name string, members int, l *Look) bool {
	if _, looked := l.set(name, f.wroteSet[name]); !looked {
		return false
	}
	s, known := f.sums[name]
	return known && s.n == members && s == l.sums[name]
}
