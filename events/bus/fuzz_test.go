package bus_test

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events/bus"
)

// A token that names a host is the one that the host's name makes: no host can
// be reached, or speak, by two subjects.
func FuzzHostName(f *testing.F) {
	for _, token := range []string{"node-1_2eexample_2ecom", "_", "_2", "_61", "_2E", "", "a_ffb"} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if name, err := bus.HostName(token); err == nil && bus.Token(name) != token {
			t.Errorf("token %q names %q, whose token is %q", token, name, bus.Token(name))
		}
		if name, err := bus.HostName(bus.Token(token)); token != "" && (err != nil || name != token) {
			t.Errorf("the name %q came back as %q, %v", token, name, err)
		}
	})
}

// A payload may claim any size and hold anything.
func FuzzUnpack(f *testing.F) {
	f.Add("s2", []byte{0x05, 0x10, 'h', 'e', 'l', 'l', 'o'})
	f.Add("s2", []byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add("", []byte("plain"))
	f.Fuzz(func(t *testing.T, encoding string, data []byte) {
		out, err := bus.Unpack(nats.Header{"Taskwall-Encoding": {encoding}}, data)
		if err == nil && len(out) > bus.MaxUnpacked {
			t.Errorf("%d bytes came out", len(out))
		}
	})
}
