package mirror

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"time"

	"github.com/taskwall/taskwall/events"
)

// A step is counted for at least this long, and at least until so many others
// were taken: no shorter than the log knows an id again (JetStream by time,
// package eventlog by number). At 100 steps a second it is about 10 MB.
const (
	rememberFor = 10 * time.Minute
	rememberAll = 1 << 17
)

// steps names the steps from one level to the next, and counts those taken
// more than once. Two generations of counts bound its memory.
type steps struct {
	counts, older map[[16]byte]uint32
	turned        time.Time
}

// id is the name of the step of the thing called key from one level to
// another; nil stands for absence. See the package comment.
func (s *steps) id(kind events.Kind, key string, before, after any, now time.Time) string {
	h := sha256.New()
	write(h, []byte(kind))
	write(h, []byte(key))
	level(h, before)
	level(h, after)
	var sum [32]byte
	step := [16]byte(h.Sum(sum[:0])[:16])
	if s.counts == nil || len(s.counts) >= rememberAll && now.Sub(s.turned) > rememberFor {
		s.counts, s.older, s.turned = map[[16]byte]uint32{}, s.counts, now
	}
	n := max(s.counts[step], s.older[step])
	s.counts[step] = n + 1
	if n > 0 {
		write(h, binary.BigEndian.AppendUint32(nil, n))
	}
	return string(kind) + "/" + hex.EncodeToString(h.Sum(sum[:0])[:16])
}

func level(h hash.Hash, v any) {
	if v == nil {
		write(h, nil)
		return
	}
	b, err := json.Marshal(v) // maps are written in the order of their keys
	if err != nil {
		panic(fmt.Sprintf("mirror: a %T cannot be encoded: %v", v, err)) // plain data always can
	}
	write(h, b)
}

// write frames b, so that no two sequences of parts hash alike.
func write(h hash.Hash, b []byte) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(b)))
	h.Write(n[:])
	h.Write(b)
}
