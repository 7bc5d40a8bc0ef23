package work

import (
	"encoding/json"
	"net/netip"
)

// appendEndpoint appends an endpoint as json.Marshal writes it, some ten times
// faster: the digest of a picture is of these bytes.
func appendEndpoint(b []byte, e *Endpoint) []byte {
	b = appendString(append(b, `{"id":`...), e.ID)
	b = appendString(append(b, `,"network":`...), e.Network)
	if e.Docker {
		b = append(b, `,"docker":true`...)
	}
	if e.Address.IsValid() {
		b = appendAddr(append(b, `,"address":`...), e.Address)
	}
	for _, f := range [...]struct{ name, value string }{
		{`,"posture":`, e.Posture}, {`,"refused":`, e.Refused}, {`,"app":`, e.App}, {`,"task":`, e.Task},
	} {
		if f.value != "" {
			b = appendString(append(b, f.name...), f.value)
		}
	}
	return append(b, '}')
}

// appendRoute is appendEndpoint for a route.
func appendRoute(b []byte, r *Route) []byte {
	b = appendPrefix(append(b, `{"prefix":`...), r.Prefix)
	if r.Via.IsValid() {
		b = appendAddr(append(b, `,"via":`...), r.Via)
	}
	if r.Host != "" {
		b = appendString(append(b, `,"host":`...), r.Host)
	}
	return append(b, '}')
}

func appendAddr(b []byte, a netip.Addr) []byte {
	var room [64]byte
	return appendString(b, string(a.AppendTo(room[:0])))
}

func appendPrefix(b []byte, p netip.Prefix) []byte {
	if p == (netip.Prefix{}) {
		return append(b, `""`...)
	}
	var room [64]byte
	return appendString(b, string(p.AppendTo(room[:0])))
}

// appendString appends a string with the escapes of json.Marshal.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c >= 0x7f, c == '"', c == '\\', c == '<', c == '>', c == '&':
			text, err := json.Marshal(s)
			if err != nil {
				panic("work: encoding a string: " + err.Error()) // cannot fail
			}
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
