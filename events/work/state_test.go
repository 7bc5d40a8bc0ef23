package work

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// randomItem edits a small world, so that keys meet often.
func randomItem(t *rapid.T, s *State) *Item {
	it := &Item{Host: "h", Rev: s.Rev + 1, Delete: &Deletions{}}
	member := rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.1.0.0/16"})
	id := rapid.SampledFrom([]string{"a", "b", "c"})
	text := rapid.SampledFrom([]string{"", "x", "y"})
	have := map[string]bool{}
	for k := range s.Sets {
		have[k] = true
	}
	for range rapid.IntRange(0, 4).Draw(t, "edits") {
		switch rapid.IntRange(0, 9).Draw(t, "edit") {
		case 0:
			set := Set{ID: id.Draw(t, "set"), Type: Nets, Origin: text.Draw(t, "origin"), Members: rapid.SliceOf(member).Draw(t, "members")}
			it.Sets = append(it.Sets, set)
			have[set.ID] = true
		case 1:
			if e := (SetEdit{ID: id.Draw(t, "set"), Add: rapid.SliceOf(member).Draw(t, "add"), Remove: rapid.SliceOf(member).Draw(t, "remove")}); have[e.ID] {
				it.Members = append(it.Members, e)
			}
		case 2:
			it.Programs = append(it.Programs, Program{ID: id.Draw(t, "program"), Policies: []string{text.Draw(t, "policy")}})
		case 3:
			it.Endpoints = append(it.Endpoints, Endpoint{ID: id.Draw(t, "endpoint"), Posture: text.Draw(t, "posture")})
		case 4:
			it.Routes = append(it.Routes, Route{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Host: text.Draw(t, "host")})
		case 5:
			it.Delete.Sets = append(it.Delete.Sets, id.Draw(t, "set"))
		case 6:
			it.Delete.Programs = append(it.Delete.Programs, id.Draw(t, "program"))
		case 7:
			it.Delete.Endpoints = append(it.Delete.Endpoints, id.Draw(t, "endpoint"))
		case 8:
			it.Delete.Routes = append(it.Delete.Routes, netip.MustParsePrefix("10.0.0.0/24"))
		case 9:
			it.BGP = &BGP{ASN: rapid.Uint32Range(64512, 64514).Draw(t, "asn")}
		}
	}
	return it
}

// However a picture came about, its digest is that of the same picture written
// down at once, and of no other.
func TestDigestIsOfThePictureAlone(t *testing.T) {
	seen := map[string]string{} // digest to picture
	rapid.Check(t, func(t *rapid.T) {
		s := NewState()
		for range rapid.IntRange(1, 12).Draw(t, "items") {
			if err := s.Apply(randomItem(t, s)); err != nil {
				t.Fatal(err)
			}
			picture, err := json.Marshal(s.Item("h"))
			if err != nil {
				t.Fatal(err)
			}
			digest := s.Digest()
			if other, ok := seen[digest]; ok && other != string(picture) {
				t.Fatalf("one digest for two pictures:\n%s\n%s", other, picture)
			}
			seen[digest] = string(picture)

			whole := NewState()
			if err := whole.Apply(s.Item("h")); err != nil {
				t.Fatal(err)
			}
			if whole.Digest() != digest {
				t.Fatalf("the snapshot's digest is %s, not %s", whole.Digest(), digest)
			}
			b, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			var read State
			if err := json.Unmarshal(b, &read); err != nil {
				t.Fatal(err)
			}
			if read.Digest() != digest {
				t.Fatalf("the decoded picture's digest is %s, not %s", read.Digest(), digest)
			}
			s = &read // and it goes on from there
		}
	})
}

func TestApplyIsIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewState()
		var items []*Item
		for range rapid.IntRange(1, 6).Draw(t, "items") {
			it := randomItem(t, s)
			if err := s.Apply(it); err != nil {
				t.Fatal(err)
			}
			items = append(items, it)
		}
		digest := s.Digest()
		for _, it := range items {
			if err := s.Apply(it); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Apply(s.Item("h")); err != nil {
			t.Fatal(err)
		}
		if s.Digest() != digest {
			t.Fatal("items that were applied before changed the picture")
		}
	})
}

func TestApplyRefusesGapsUnchanged(t *testing.T) {
	s := NewState()
	if err := s.Apply(&Item{Rev: 1, Sets: []Set{{ID: "a", Type: Nets, Members: []string{"10.0.0.1"}}}}); err != nil {
		t.Fatal(err)
	}
	digest := s.Digest()
	for name, it := range map[string]*Item{
		"a revision too far": {Rev: 3},
		"an unknown set":     {Rev: 2, Endpoints: []Endpoint{{ID: "e"}}, Members: []SetEdit{{ID: "a", Add: []string{"10.0.0.2"}}, {ID: "b", Add: []string{"10.0.0.2"}}}},
	} {
		if err := s.Apply(it); !errors.Is(err, ErrGap) {
			t.Errorf("%s: %v", name, err)
		}
		if s.Digest() != digest || s.Rev != 1 {
			t.Errorf("%s changed the picture", name)
		}
	}
}

// Apply costs what the item costs, not what the host holds.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("members=%d", size), func(b *testing.B) {
			s := NewState()
			set := Set{ID: "a", Type: Nets}
			for i := range size {
				set.Members = append(set.Members, fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255))
			}
			if err := s.Apply(&Item{Rev: 1, Sets: []Set{set}}); err != nil {
				b.Fatal(err)
			}
			edits := [2]SetEdit{{ID: "a", Add: []string{"172.16.0.1"}}, {ID: "a", Remove: []string{"172.16.0.1"}}}
			for i := 0; b.Loop(); i++ {
				if err := s.Apply(&Item{Rev: s.Rev + 1, Members: []SetEdit{edits[i%2]}}); err != nil {
					b.Fatal(err)
				}
				s.Digest()
			}
		})
	}
}

// A snapshot without a BGP part ends it; any other item without one leaves it.
func TestBGPStaysUntilASnapshotEndsIt(t *testing.T) {
	s := NewState()
	for _, it := range []*Item{{Rev: 1, BGP: &BGP{ASN: 64512}}, {Rev: 2}} {
		if err := s.Apply(it); err != nil {
			t.Fatal(err)
		}
	}
	if s.BGP == nil || s.Item("h").BGP == nil {
		t.Fatal("an item that does not speak of BGP ended it")
	}
	if err := s.Apply(&Item{Rev: 3, Snapshot: true}); err != nil {
		t.Fatal(err)
	}
	if s.BGP != nil {
		t.Fatal("a snapshot without BGP left it")
	}
}
