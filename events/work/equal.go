package work

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
)

// same reports whether two items are surely written as the same bytes. It is
// much faster than to write both, and may miss that they are: of two that it
// does not find the same, only the bytes tell.
func same(a, b *Item) bool {
	return a.Host == b.Host && a.Rev == b.Rev && a.Cause == b.Cause && a.Snapshot == b.Snapshot &&
		a.Time.Equal(b.Time) && a.Time.Location() == b.Time.Location() &&
		slices.EqualFunc(a.Sets, b.Sets, sameSet) && slices.EqualFunc(a.Members, b.Members, sameEdit) &&
		slices.Equal(a.Endpoints, b.Endpoints) && slices.Equal(a.Routes, b.Routes) &&
		sameDeletions(a.Delete, b.Delete) &&
		(len(a.Programs)+len(b.Programs) == 0 || reflect.DeepEqual(a.Programs, b.Programs)) &&
		(a.BGP == nil && b.BGP == nil || reflect.DeepEqual(a.BGP, b.BGP))
}

// sameSet tells a set without a list of members from one with an empty list,
// as its bytes do.
func sameSet(a, b Set) bool {
	return a.ID == b.ID && a.Type == b.Type && a.Origin == b.Origin &&
		(a.Members == nil) == (b.Members == nil) && slices.Equal(a.Members, b.Members)
}

func sameEdit(a, b SetEdit) bool {
	return a.ID == b.ID && slices.Equal(a.Add, b.Add) && slices.Equal(a.Remove, b.Remove)
}

func sameDeletions(a, b *Deletions) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(a.Routes, b.Routes) && slices.Equal(a.Endpoints, b.Endpoints) &&
		slices.Equal(a.Programs, b.Programs) && slices.Equal(a.Sets, b.Sets)
}

// Before orders items as the fold makes them: by cause, then by host.
func (k Key) Before(o Key) bool {
	return k.Cause < o.Cause || k.Cause == o.Cause && k.Host < o.Host
}

// Difference says in words how what was published differs from what the log
// makes; "" when it does not.
func Difference(made, published *Item) string {
	if made.Rev != published.Rev {
		return fmt.Sprintf("the log makes revision %d, published was %d", made.Rev, published.Rev)
	}
	if same(made, published) {
		return ""
	}
	a, errA := json.Marshal(made)
	b, errB := json.Marshal(published)
	if errA != nil || errB != nil {
		return fmt.Sprintf("cannot be compared: %v, %v", errA, errB)
	}
	if bytes.Equal(a, b) {
		return ""
	}
	return "altered: " + parts(a, b)
}

// parts names the fields of two items in which they differ.
func parts(a, b []byte) string {
	var x, y map[string]json.RawMessage
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return "the published item differs from the one that the log makes"
	}
	names := ""
	for _, name := range []string{"time", "snapshot", "sets", "members", "programs", "endpoints", "routes", "bgp", "delete"} {
		if !bytes.Equal(x[name], y[name]) {
			names += ", " + name
		}
	}
	if names == "" {
		return "the published item differs from the one that the log makes"
	}
	return "the published item differs from the one that the log makes in its " + names[2:]
}
