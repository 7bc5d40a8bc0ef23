package work

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"time"
)

// AppendItem appends an item as json.Marshal writes it, some ten times faster:
// these are the bytes that are published. BGP, which is rare, is left to
// json.Marshal. The error is json.Marshal's: a time whose year has not four
// digits.
func AppendItem(b []byte, it *Item) ([]byte, error) {
	if b == nil {
		b = make([]byte, 0, it.room())
	}
	b = appendString(append(b, `{"host":`...), it.Host)
	b = strconv.AppendUint(append(b, `,"rev":`...), it.Rev, 10)
	b = strconv.AppendUint(append(b, `,"cause":`...), it.Cause, 10)
	b, err := appendTime(append(b, `,"time":`...), it.Time)
	if err != nil {
		return nil, err
	}
	if it.Snapshot {
		b = append(b, `,"snapshot":true`...)
	}
	b = appendField(b, "sets", it.Sets, appendSet)
	b = appendField(b, "members", it.Members, appendEdit)
	b = appendField(b, "programs", it.Programs, appendProgram)
	b = appendField(b, "endpoints", it.Endpoints, appendEndpoint)
	b = appendField(b, "routes", it.Routes, appendRoute)
	if it.BGP != nil {
		text, err := json.Marshal(it.BGP)
		if err != nil {
			return nil, err
		}
		b = append(append(b, `,"bgp":`...), text...)
	}
	if it.Delete != nil {
		b = appendDeletions(append(b, `,"delete":`...), it.Delete)
	}
	return append(b, '}'), nil
}

// room is how many bytes most items fit in: a first picture has megabytes, and
// to grow there by steps would cost as much as the writing.
func (it *Item) room() int {
	n := 512 + 200*len(it.Endpoints) + 100*len(it.Routes)
	for i := range it.Sets {
		n += 100 + 22*len(it.Sets[i].Members)
	}
	for i := range it.Programs {
		n += it.Programs[i].room()
	}
	return n
}

func (p *Program) room() int {
	n := 256
	for _, tiers := range [][]Tier{p.Ingress, p.Egress} {
		for i := range tiers {
			n += 64 + 256*len(tiers[i].Rules)
		}
	}
	return n
}

func appendTime(b []byte, t time.Time) ([]byte, error) {
	if t.Location() == time.UTC && t.Year() >= 0 && t.Year() <= 9999 {
		return append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"'), nil
	}
	text, err := t.MarshalJSON()
	return append(b, text...), err
}

// appendList appends an array, and null for a list that is nil.
func appendList[T any](b []byte, list []T, element func([]byte, *T) []byte) []byte {
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = element(b, &list[i])
	}
	return append(b, ']')
}

// appendField appends a field, not the first of its object, that is left out
// when it is empty.
func appendField[T any](b []byte, name string, list []T, element func([]byte, *T) []byte) []byte {
	if len(list) == 0 {
		return b
	}
	return appendList(appendName(b, name), list, element)
}

// appendName appends a field's name, and a comma before it where one is due.
func appendName(b []byte, name string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return append(append(append(b, '"'), name...), `":`...)
}

func appendText(b []byte, s *string) []byte          { return appendString(b, *s) }
func appendNetwork(b []byte, p *netip.Prefix) []byte { return appendPrefix(b, *p) }

func appendSet(b []byte, s *Set) []byte {
	b = appendString(append(b, `{"id":`...), s.ID)
	b = appendString(append(b, `,"type":`...), string(s.Type))
	if s.Origin != "" {
		b = appendString(append(b, `,"origin":`...), s.Origin)
	}
	return append(appendList(append(b, `,"members":`...), s.Members, appendText), '}')
}

func appendEdit(b []byte, e *SetEdit) []byte {
	b = appendString(append(b, `{"id":`...), e.ID)
	b = appendField(b, "add", e.Add, appendText)
	return append(appendField(b, "remove", e.Remove, appendText), '}')
}

func appendDeletions(b []byte, d *Deletions) []byte {
	b = append(b, '{')
	b = appendField(b, "routes", d.Routes, appendNetwork)
	b = appendField(b, "endpoints", d.Endpoints, appendText)
	b = appendField(b, "programs", d.Programs, appendText)
	return append(appendField(b, "sets", d.Sets, appendText), '}')
}

// appendEndpoint appends an endpoint; the digest of a picture is of these bytes.
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
	if a.Zone() != "" {
		return appendString(b, a.String())
	}
	return append(a.AppendTo(append(b, '"')), '"')
}

func appendPrefix(b []byte, p netip.Prefix) []byte {
	if p == (netip.Prefix{}) {
		return append(b, `""`...)
	}
	return append(p.AppendTo(append(b, '"')), '"') // a network has no zone
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
