package events

import (
	"encoding/json"
	"time"

	"github.com/taskwall/taskwall/events/canon"
)

// Decode reads a whole event as json.Unmarshal does, and the usual ones, in the
// form in which json.Marshal writes them, some ten times faster. Events that
// have the same labels share the map: it is not to be changed.
func Decode(text []byte, e *Event) error {
	r := canon.Read(text)
	if *e = (Event{}); readEvent(r, e) {
		return nil
	}
	*e = Event{}
	return json.Unmarshal(text, e)
}

// readEvent reads the kinds that a log is full of.
func readEvent(r *canon.Reader, e *Event) bool {
	r.Object(func() {
		r.Must("v")
		e.Schema = int(r.Int(0))
		r.Must("id")
		e.ID = r.String()
		r.Must("kind")
		e.Kind = Kind(r.Shared())
		r.Must("source")
		e.Source = r.Shared()
		r.Must("time")
		e.Time = r.Time()
		r.Must("received")
		e.Received = r.Time()
		switch {
		case r.Has("task"):
			e.Task = readTask(r)
		case r.Has("app"):
			e.App = readApp(r)
		case r.Has("deployment"):
			e.Deployment = readDeployment(r)
		case r.Has("wiring"):
			e.Wiring = ReadWiring(r)
		case r.Has("gone"):
			e.Gone = readGone(r)
		default:
			r.Fail()
		}
	})
	return r.Done()
}

func readTask(r *canon.Reader) *Task {
	t := &Task{}
	r.Object(func() {
		r.Must("framework")
		t.Framework = r.Shared()
		r.Must("id")
		t.ID = r.String()
		if r.Has("name") {
			t.Name = r.Shared()
		}
		r.Must("executor")
		t.Executor = r.StringAs(t.ID)
		r.Must("agent")
		t.Agent = r.Shared()
		r.Must("state")
		t.State = r.Shared()
		if r.Has("role") {
			t.Role = r.Shared()
		}
		if r.Has("labels") {
			t.Labels = r.Map()
		}
		if r.Has("executorLabels") {
			t.ExecutorLabels = r.Map()
		}
		if r.Has("containerizer") {
			t.Containerizer = r.Shared()
		}
		if r.Has("container") {
			t.Container = r.String()
		}
		if r.Has("nested") {
			t.Nested = r.Bool()
		}
		if r.Has("networks") {
			t.Networks = canon.List(r, func() Network { return readNetwork(r) })
		}
		if r.Has("executorNetworks") {
			t.ExecutorNetworks = canon.List(r, func() Network { return readNetwork(r) })
		}
		if r.Has("ports") {
			t.Ports = canon.List(r, func() Port { return readPort(r) })
		}
		if r.Has("healthy") {
			healthy := r.Bool()
			t.Healthy = &healthy
		}
		if r.Has("reason") {
			t.Reason = r.Shared()
		}
		if r.Has("message") {
			t.Message = r.String()
		}
		if r.Has("since") {
			t.Since = r.Time()
		}
	})
	return t
}

func readNetwork(r *canon.Reader) (n Network) {
	r.Object(func() {
		r.Must("name")
		n.Name = r.Shared()
		if r.Has("labels") {
			n.Labels = r.Map()
		}
		if r.Has("addresses") {
			n.Addresses = canon.List(r, r.String)
		}
	})
	return n
}

func readPort(r *canon.Reader) (p Port) {
	r.Object(func() {
		r.Must("name")
		p.Name = r.Shared()
		r.Must("number")
		p.Number = int(r.Int(0))
		r.Must("protocol")
		p.Protocol = r.Shared()
	})
	return p
}

func readApp(r *canon.Reader) *App {
	a := &App{}
	r.Object(func() {
		r.Must("id")
		a.ID = r.Shared()
		r.Must("version")
		a.Version = r.String()
		if r.Has("pod") {
			a.Pod = r.Bool()
		}
		r.Must("instances")
		a.Instances = int(r.Int(0))
		if r.Has("labels") {
			a.Labels = r.Map()
		}
		if r.Has("networks") {
			a.Networks = canon.List(r, r.Shared)
		}
		if r.Has("ports") {
			a.Ports = canon.List(r, func() Port { return readPort(r) })
		}
	})
	return a
}

func readDeployment(r *canon.Reader) *Deployment {
	d := &Deployment{}
	r.Object(func() {
		r.Must("id")
		d.ID = r.String()
		if r.Has("version") {
			d.Version = r.String()
		}
		r.Must("state")
		d.State = r.Shared()
		if r.Has("apps") {
			d.Apps = canon.List(r, r.Shared)
		}
		if r.Has("actions") {
			d.Actions = canon.List(r, r.Shared)
		}
		if r.Has("reason") {
			d.Reason = r.String()
		}
		if r.Has("client") {
			d.Client = r.Shared()
		}
	})
	return d
}

// ReadWiring reads a Wiring in the form in which json.Marshal writes it.
func ReadWiring(r *canon.Reader) *Wiring {
	w := &Wiring{}
	r.Object(func() {
		r.Must("host")
		w.Host = r.Shared()
		r.Must("endpoint")
		w.Endpoint = r.String()
		if r.Has("address") {
			w.Address = r.String()
		}
		r.Must("state")
		w.State = WiringState(r.Shared())
		if r.Has("took") {
			w.Took = time.Duration(r.Int(64))
		}
		if r.Has("error") {
			w.Error = r.String()
		}
		if r.Has("report") {
			w.Report = r.Uint(64)
		}
	})
	return w
}

func readGone(r *canon.Reader) *Gone {
	g := &Gone{}
	r.Object(func() {
		r.Must("key")
		g.Key = r.String()
		if r.Has("reason") {
			g.Reason = r.Shared()
		}
	})
	return g
}
