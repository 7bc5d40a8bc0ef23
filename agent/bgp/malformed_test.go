package bgp_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/agent/bgp"
)

// attr writes a path attribute with a length of one byte.
func attr(flags, kind byte, value ...byte) []byte {
	return append([]byte{flags, kind, byte(len(value))}, value...)
}

// longPath is an AS_PATH of n numbers after the peer's own, in segments.
func longPath(n int) []byte {
	value := []byte{2, 1, 0, 0, 0xfd, 0xe7}
	for n > 0 {
		m := min(n, 255)
		value = append(value, 2, byte(m))
		for i := range m {
			value = append(value, 0, 0, 0x10, byte(i))
		}
		n -= m
	}
	return append([]byte{0x50, 2, byte(len(value) >> 8), byte(len(value))}, value...)
}

// What is wrong with a route's attributes ends the route or the attribute, and
// never the session (RFC 7606), and a path that cannot be taken ends the one
// that it replaces (RFC 4271, 9.1).
func TestMalformedUpdates(t *testing.T) {
	noLeaks(t)
	r := newRouter(t, 0)
	s := speak(t, bgp.Config{})
	s.apply(config(peerOn(0, 64999)))
	origin, path, next := attr(0x40, 1, 0), attr(0x40, 2, 2, 1, 0, 0, 0xfd, 0xe7), attr(0x40, 3, 198, 51, 100, 2)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	cases := []struct {
		name  string
		attrs []byte
		kept  bool // the route stays, else it counts as withdrawn
	}{
		{"no ORIGIN", join(path, next), false},
		{"no AS_PATH", join(origin, next), false},
		{"no NEXT_HOP", join(origin, path), false},
		{"ORIGIN of two bytes", join(attr(0x40, 1, 0, 0), path, next), false},
		{"ORIGIN of no byte", join(attr(0x40, 1), path, next), false},
		{"AS_PATH segment of kind 9", join(origin, attr(0x40, 2, 9, 1, 0, 0, 0xfd, 0xe7), next), false},
		{"AS_PATH segment longer than the attribute", join(origin, attr(0x40, 2, 2, 9, 0, 0, 0xfd, 0xe7), next), false},
		{"AS_PATH segment without numbers", join(origin, attr(0x40, 2, 2, 0), next), false},
		{"AS_PATH with half a number", join(origin, attr(0x40, 2, 2, 1, 0, 0), next), false},
		{"AS_PATH empty", join(origin, attr(0x40, 2), next), true},
		{"AS_PATH of another first", join(origin, attr(0x40, 2, 2, 1, 0, 0, 0xfd, 0xe6), next), true},
		{"AS_PATH with our own", join(origin, attr(0x40, 2, 2, 2, 0, 0, 0xfd, 0xe7, 0, 0, 0xfc, 0), next), false},
		{"AS_PATH with our own in a set", join(origin, attr(0x40, 2, 2, 1, 0, 0, 0xfd, 0xe7, 1, 2, 0, 0, 0xfc, 0, 0, 0, 0, 9), next), false},
		{"AS_PATH with our own and more", join(origin, attr(0x40, 2, 2, 2, 0, 0, 0xfd, 0xe7, 0, 1, 0xfc, 0), next), true},
		{"AS_PATH with 0", join(origin, attr(0x40, 2, 2, 2, 0, 0, 0xfd, 0xe7, 0, 0, 0, 0), next), false},
		{"AS_PATH confederation", join(origin, attr(0x40, 2, 3, 1, 0, 0, 0xfd, 0xe7), next), false},
		{"AS_PATH long", join(origin, longPath(700), next), true},
		{"AS_SET", join(origin, attr(0x40, 2, 2, 1, 0, 0, 0xfd, 0xe7, 1, 2, 0, 0, 0, 9, 0, 0, 0, 8), next), true},
		{"NEXT_HOP of three bytes", join(origin, path, attr(0x40, 3, 198, 51, 100)), false},
		{"NEXT_HOP 0.0.0.0", join(origin, path, attr(0x40, 3, 0, 0, 0, 0)), false},
		{"NEXT_HOP multicast", join(origin, path, attr(0x40, 3, 224, 0, 0, 5)), false},
		{"NEXT_HOP broadcast", join(origin, path, attr(0x40, 3, 255, 255, 255, 255)), false},
		{"NEXT_HOP loopback", join(origin, path, attr(0x40, 3, 127, 0, 0, 1)), false},
		{"NEXT_HOP ours", join(origin, path, attr(0x40, 3, 198, 51, 100, 1)), false},
		{"MED of three bytes", join(origin, path, next, attr(0x80, 4, 0, 0, 1)), false},
		{"LOCAL_PREF from another AS", join(origin, path, next, attr(0x40, 5, 0, 0, 0, 200)), true},
		{"ATOMIC_AGGREGATE with a value", join(origin, path, next, attr(0x40, 6, 1)), true},
		{"AGGREGATOR of 6 bytes", join(origin, path, next, attr(0xc0, 7, 0xfd, 0xe7, 1, 2, 3, 4)), true},
		{"AGGREGATOR of 8 bytes", join(origin, path, next, attr(0xc0, 7, 0, 0, 0xfd, 0xe7, 1, 2, 3, 4)), true},
		{"COMMUNITIES of five bytes", join(origin, path, next, attr(0xc0, 8, 0, 0, 0, 0, 1)), false},
		{"COMMUNITIES empty", join(origin, path, next, attr(0xc0, 8)), true},
		{"ORIGINATOR_ID from outside", join(origin, path, next, attr(0x80, 9, 1, 2, 3, 4)), true},
		{"CLUSTER_LIST from outside", join(origin, path, next, attr(0x80, 10, 1, 2, 3)), false},
		{"EXTENDED COMMUNITIES of seven bytes", join(origin, path, next, attr(0xc0, 16, 0, 0, 0, 0, 0, 0, 1)), false},
		{"LARGE COMMUNITIES of eleven bytes", join(origin, path, next, attr(0xc0, 32, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)), false},
		{"AS4_PATH from a speaker of four bytes", join(origin, path, next, attr(0xc0, 17, 2, 1, 0, 0, 0xfd, 0xe7)), true},
		{"an unknown optional one", join(origin, path, next, attr(0xc0, 99, 1, 2, 3)), true},
		{"an unknown non-transitive one", join(origin, path, next, attr(0x80, 99, 1, 2, 3)), true},
		{"a second ORIGIN", join(origin, path, next, attr(0x40, 1, 2)), true},
		{"ORIGIN with the flags of an optional one", join(attr(0xc0, 1, 0), path, next), false},
		{"attributes that end early", join(origin, path, next, []byte{0xc0, 8, 9, 0}), true},
		{"an attribute's head only", join(origin, path, next, []byte{0xc0}), false},
	}
	network := func(i int) string { return fmt.Sprintf("10.0.%d.0/24", i+10) }
	var before, after []string
	p := dialRaw(t, r, 64999, 90)
	for i, c := range cases {
		p.update(good(), nlri(byte(i+10)))
		before = append(before, via(network(i), 0))
		if c.kept {
			after = append(after, via(network(i), 0))
		}
	}
	eventually(t, "all learned", kernelHas(t, before...))
	for i, c := range cases {
		p.update(c.attrs, nlri(byte(i+10)))
	}
	p.update(good(), nlri(1)) // the session is there, and what came before was read
	after = append(after, via("10.0.1.0/24", 0))
	has := kernelHas(t, after...)
	eventually(t, "each is taken, discarded or treated as withdrawn", func() error {
		err := has()
		for i, c := range cases {
			if err != nil && strings.Count(err.Error(), network(i)+" via") == 1 { // in one of both lists
				err = fmt.Errorf("%s is %s: %w", network(i), c.name, err)
			}
		}
		return err
	})
	s.established("r0")
	if l := s.last("r0"); l.Flaps > 1 {
		t.Errorf("the session: %+v", l)
	}
}
