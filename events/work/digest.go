package work

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// sum is a hash of a multiset of elements: the sum, in four lanes modulo 2^64,
// of the elements' SHA-256 hashes. Adding and removing an element cost what
// that element costs, and the order in which it happened leaves no trace. It
// tells pictures apart that differ by accident; whoever can choose elements at
// will could make two that agree.
type sum [4]uint64

func (s *sum) add(e sum) {
	for i := range s {
		s[i] += e[i]
	}
}

func (s *sum) remove(e sum) {
	for i := range s {
		s[i] -= e[i]
	}
}

// element is the hash of a kind and its parts. Each part's length is hashed
// too, so that parts can't flow into each other.
func element(kind byte, parts ...string) sum {
	var room [256]byte
	buf := room[:0]
	buf = append(buf, kind)
	for _, p := range parts {
		buf = binary.AppendUvarint(buf, uint64(len(p)))
		buf = append(buf, p...)
	}
	return sumOf(buf)
}

func sumOf(b []byte) sum {
	h := sha256.Sum256(b)
	return lanes(h[:])
}

func lanes(h []byte) (s sum) {
	for i := range s {
		s[i] = binary.LittleEndian.Uint64(h[8*i:])
	}
	return s
}

func encoded(kind byte, v any) sum {
	b, err := json.Marshal(v)
	if err != nil {
		panic("work: encoding a part of a state: " + err.Error()) // plain data: cannot fail
	}
	return written(kind, b)
}

// written is element with one part.
func written(kind byte, part []byte) sum {
	if len(part) > 600 { // the copy below would cost more
		h := sha256.New()
		h.Write(binary.AppendUvarint([]byte{kind}, uint64(len(part))))
		h.Write(part)
		return lanes(h.Sum(nil))
	}
	var room [640]byte
	buf := binary.AppendUvarint(append(room[:0], kind), uint64(len(part)))
	return sumOf(append(buf, part...))
}

// The elements of a picture.

func setElement(id string, st *SetState) sum { return element('s', id, string(st.Type), st.Origin) }
func memberElement(id, member string) sum    { return element('m', id, member) }
func bgpElement(b *BGP) sum                  { return encoded('b', b) }

func programElement(p *Program) sum {
	return written('p', appendProgram(make([]byte, 0, p.room()), p))
}

func endpointElement(e *Endpoint) sum {
	var room [512]byte
	return written('e', appendEndpoint(room[:0], e))
}

func routeElement(r *Route) sum {
	var room [256]byte
	return written('r', appendRoute(room[:0], r))
}

// Digest is a hash of the picture: equal pictures, however they came about,
// have equal digests. The revision and the texts for people count too. It
// costs the same however large the picture is: Apply keeps it up to date.
func (s *State) Digest() string { return s.Mark().Digest() }

// Mark is of what the digest of a picture is made: it is kept where few of
// many digests are asked for.
type Mark struct {
	rev uint64
	sum sum
}

// Mark is the picture's as it is now.
func (s *State) Mark() Mark { return Mark{s.Rev, s.sum} }

// Digest is that of the picture whose mark it is.
func (m Mark) Digest() string {
	var room [40]byte
	buf := binary.LittleEndian.AppendUint64(room[:0], m.rev)
	for _, lane := range m.sum {
		buf = binary.LittleEndian.AppendUint64(buf, lane)
	}
	h := sha256.Sum256(buf)
	return hex.EncodeToString(h[:16])
}

// UnmarshalJSON reads a picture and finds its digest anew.
func (s *State) UnmarshalJSON(b []byte) error {
	type plain State // without this method
	p := plain(*NewState())
	if err := json.Unmarshal(b, &p); err != nil {
		return fmt.Errorf("decoding a host's picture: %w", err)
	}
	*s = State(p)
	for id, st := range s.Sets {
		if st == nil {
			return fmt.Errorf("decoding a host's picture: set %s is null", id)
		}
		if st.Members == nil {
			st.Members = map[string]struct{}{}
		}
		st.sum = setElement(id, st)
		for m := range st.Members {
			st.sum.add(memberElement(id, m))
		}
		s.sum.add(st.sum)
	}
	for id, p := range s.Programs {
		s.addProgram(id, p)
	}
	for _, e := range s.Endpoints {
		s.sum.add(endpointElement(&e))
	}
	for _, r := range s.Routes {
		s.sum.add(routeElement(&r))
	}
	if s.BGP != nil {
		s.sum.add(bgpElement(s.BGP))
	}
	return nil
}
