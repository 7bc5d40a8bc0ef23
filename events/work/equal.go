package work

import (
	"reflect"
	"slices"
)

// Same reports whether two items are surely written as the same bytes. It is
// much faster than to write both, and may miss that they are: of two that it
// does not find the same, only the bytes tell.
func Same(a, b *Item) bool {
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
