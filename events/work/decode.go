package work

import (
	"encoding/json"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/canon"
)

// unmarshalItem reads an item as json.Unmarshal does, and the usual ones, in
// the form in which json.Marshal writes them, some ten times faster.
func unmarshalItem(text []byte) (Item, error) {
	r := canon.Read(text)
	if quick := readItem(r); r.Done() {
		return quick, nil
	}
	var it Item
	err := json.Unmarshal(text, &it)
	return it, err
}

// readKey reads what tells an item from others, if it is written at its
// beginning as json.Marshal does. What follows is not looked at. It should be
// that of an item for a host.
func readKey(host string, text []byte) (k Key, ok bool) {
	const most = 512 // a host's name is shorter, and more need not be copied
	r := canon.Read(text[:min(len(text), most)])
	r.Begin()
	r.Must("host")
	k.Host = r.StringAs(host)
	r.Must("rev")
	k.Rev = r.Uint(64)
	r.Must("cause")
	k.Cause = r.Uint(64)
	r.Must("time")
	return k, r.OK()
}

// readItem reads items without BGP, which is rare.
func readItem(r *canon.Reader) (it Item) {
	r.Object(func() {
		r.Must("host")
		it.Host = r.Shared()
		r.Must("rev")
		it.Rev = r.Uint(64)
		r.Must("cause")
		it.Cause = r.Uint(64)
		r.Must("time")
		it.Time = r.Time()
		if r.Has("snapshot") {
			it.Snapshot = r.Bool()
		}
		if r.Has("sets") {
			it.Sets = canon.List(r, func() Set { return readSet(r) })
		}
		if r.Has("members") {
			it.Members = canon.List(r, func() SetEdit { return readEdit(r) })
		}
		if r.Has("programs") {
			it.Programs = canon.List(r, func() Program { return readProgram(r) })
		}
		if r.Has("endpoints") {
			it.Endpoints = canon.List(r, func() Endpoint { return readEndpoint(r) })
		}
		if r.Has("routes") {
			it.Routes = canon.List(r, func() Route { return readRoute(r) })
		}
		if r.Has("delete") {
			it.Delete = readDeletions(r)
		}
	})
	return it
}

func readSet(r *canon.Reader) (s Set) {
	r.Object(func() {
		r.Must("id")
		s.ID = r.Shared()
		r.Must("type")
		s.Type = SetType(r.Shared())
		if r.Has("origin") {
			s.Origin = r.Shared()
		}
		r.Must("members")
		s.Members = canon.List(r, r.String)
	})
	return s
}

func readEdit(r *canon.Reader) (e SetEdit) {
	r.Object(func() {
		r.Must("id")
		e.ID = r.Shared()
		if r.Has("add") {
			e.Add = canon.List(r, r.String)
		}
		if r.Has("remove") {
			e.Remove = canon.List(r, r.String)
		}
	})
	return e
}

func readEndpoint(r *canon.Reader) (e Endpoint) {
	r.Object(func() {
		r.Must("id")
		e.ID = r.String()
		r.Must("network")
		e.Network = r.Shared()
		if r.Has("docker") {
			e.Docker = r.Bool()
		}
		if r.Has("address") {
			e.Address = r.Addr()
		}
		if r.Has("posture") {
			e.Posture = r.Shared()
		}
		if r.Has("refused") {
			e.Refused = r.String()
		}
		if r.Has("app") {
			e.App = r.Shared()
		}
		if r.Has("task") {
			e.Task = r.String()
		}
	})
	return e
}

func readRoute(r *canon.Reader) (t Route) {
	r.Object(func() {
		r.Must("prefix")
		t.Prefix = r.Prefix()
		if r.Has("via") {
			t.Via = r.Addr()
		}
		if r.Has("host") {
			t.Host = r.Shared()
		}
	})
	return t
}

func readDeletions(r *canon.Reader) *Deletions {
	d := &Deletions{}
	r.Object(func() {
		if r.Has("routes") {
			d.Routes = canon.List(r, r.Prefix)
		}
		if r.Has("endpoints") {
			d.Endpoints = canon.List(r, r.String)
		}
		if r.Has("programs") {
			d.Programs = canon.List(r, r.Shared)
		}
		if r.Has("sets") {
			d.Sets = canon.List(r, r.Shared)
		}
	})
	return d
}

// unmarshalReport is unmarshalItem for a report.
func unmarshalReport(host string, text []byte) (Report, error) {
	r := canon.Read(text)
	if quick := readReport(r, host); r.Done() {
		return quick, nil
	}
	var rep Report
	err := json.Unmarshal(text, &rep)
	return rep, err
}

// readReport reads answers to items and words about endpoints, as a host sends
// them.
func readReport(r *canon.Reader, host string) (rep Report) {
	r.Object(func() {
		r.Must("id")
		rep.ID = r.String()
		r.Must("host")
		rep.Host = r.StringAs(host)
		r.Must("time")
		rep.Time = r.Time()
		switch {
		case r.Has("wiring"):
			rep.Wiring = events.ReadWiring(r)
		case r.Has("applied"):
			rep.Applied = readApplied(r)
		default:
			r.Fail()
		}
	})
	return rep
}

func readApplied(r *canon.Reader) *Applied {
	a := &Applied{}
	r.Object(func() {
		r.Must("rev")
		a.Rev = r.Uint(64)
		r.Must("took")
		a.Took = time.Duration(r.Int(64))
		r.Must("digest")
		a.Digest = r.String()
		if r.Has("cut") {
			a.Cut = int(r.Int(0))
		}
		if r.Has("failed") {
			a.Failed = canon.List(r, func() Failure { return readFailure(r) })
		}
		if r.Has("trouble") {
			a.Trouble = canon.List(r, r.String)
		}
	})
	return a
}

func readFailure(r *canon.Reader) (f Failure) {
	r.Object(func() {
		r.Must("key")
		f.Key = r.String()
		r.Must("error")
		f.Error = r.String()
	})
	return f
}
