package timeline

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy/resource"
)

// Denied is packets that a host's firewall denied, or that a rule logged.
type Denied struct {
	Action    work.Action `json:"action"`              // "deny" or "log"
	Direction string      `json:"direction,omitempty"` // from the task's point of view
	From      End         `json:"from"`
	To        End         `json:"to"`
	Port      string      `json:"port"` // such as "5432/tcp"
	Policy    string      `json:"policy"`
	Index     int         `json:"index"`
	Count     int         `json:"count"` // at least so many packets
}

// End is one end of a packet, as who had the address then.
type End struct {
	Address netip.Addr `json:"address"`
	App     string     `json:"app,omitempty"`
	Task    string     `json:"task,omitempty"`
	Sets    []string   `json:"sets,omitempty"` // the network sets that list it
}

func (e End) String() string {
	switch {
	case e.App != "":
		return e.App + " (" + e.Address.String() + ")"
	case len(e.Sets) > 0:
		return strings.Join(e.Sets, ", ") + " (" + e.Address.String() + ")"
	}
	return e.Address.String()
}

// Report tells what a host's report means for the subject. What the log takes
// in, it tells itself.
func (t *Teller) Report(r work.StoredReport) []Event {
	t.out = nil
	about := func(kind, text string) *Event {
		t.out = append(t.out, Event{Time: r.Time, Report: r.Seq, Kind: kind, Host: r.Host, Text: text})
		return &t.out[len(t.out)-1]
	}
	here := r.Host == t.subject.Host && r.Host != ""
	switch {
	case r.Err != nil && r.Host == "": // it may have been about anybody
		ev := about(Unreadable, r.Err.Error())
		if ev.Time = r.Stored; ev.Time.IsZero() {
			ev.Time = t.state.Now()
		}
	case r.Err != nil:
		if here {
			about(Unreadable, "a report: "+r.Err.Error()).Time = r.Stored
		}
	case r.Logged != nil:
		if d, concerned := t.denied(r.Logged, here); concerned {
			kind := "denied"
			if r.Logged.Action == work.Log {
				kind = "logged"
			}
			ev := about(kind, d.text(r.Host))
			ev.Denied = d
		}
	case r.Drift != nil && here:
		about("drift", "mended: "+r.Drift.What)
	case r.Applied != nil:
		if here && r.Applied.Cut > 0 {
			about("cut", fmt.Sprintf("%d established connections are no longer allowed and were cut (revision %d)", r.Applied.Cut, r.Applied.Rev))
		}
		for _, f := range r.Applied.Failed {
			id, isEndpoint := strings.CutPrefix(f.Key, "endpoint ")
			e, mine := t.mine[id]
			if here || isEndpoint && mine {
				ev := about("failed", join(f.Key+" could not be applied", f.Error))
				ev.App, ev.Task = e.App, e.Task
			}
		}
	}
	return t.out
}

// denied is what was logged with the names of both ends, and whether it
// concerns the subject.
func (t *Teller) denied(l *work.Logged, here bool) (*Denied, bool) {
	from, fromMine := t.end(l.Source, l.SourceTask)
	to, toMine := t.end(l.Dest, l.DestTask)
	concerned := here || fromMine || toMine || t.subject.Policy != "" && t.isPolicy(l.Policy)
	if a := t.subject.Address; a.IsValid() {
		concerned = concerned || l.Source == a || l.Dest == a
	}
	if !concerned {
		return nil, false
	}
	protocol := resource.Protocol(l.Protocol)
	port := strings.ToLower(protocol.String())
	if protocol.HasPorts() {
		port = fmt.Sprintf("%d/%s", l.Port, port)
	}
	from.Sets, to.Sets = t.setsOf(l.Source, from.App), t.setsOf(l.Dest, to.App)
	return &Denied{
		Action: l.Action, Direction: l.Direction, From: from, To: to, Port: port,
		Policy: l.Policy, Index: l.Index, Count: l.Count,
	}, true
}

func (t *Teller) isPolicy(key string) bool {
	_, name, _ := strings.Cut(key, " ")
	return key == t.subject.Policy || name != "" && name == t.subject.Policy
}

// end is who had an address; mine says that it is the subject's.
func (t *Teller) end(a netip.Addr, endpoint string) (e End, mine bool) {
	e.Address = a
	if endpoint == "" {
		endpoint, _ = t.state.Holder(a)
	}
	if endpoint == "" {
		return e, false
	}
	view, mine := t.mine[endpoint]
	if !mine {
		view, _ = t.state.Endpoint(endpoint)
	}
	if e.App, e.Task = view.App, view.Task; view.ID == "" {
		e.App, e.Task = events.AppOfExecutor(taskOf(endpoint)), taskOf(endpoint)
	}
	return e, mine
}

func (d *Denied) text(host string) string {
	rule := fmt.Sprintf("%s[%d]", d.Policy, d.Index)
	if d.Index < 0 {
		rule = "the default Deny of tier " + d.Policy
	}
	if d.Direction == "" {
		rule = d.Policy
	}
	packets := "1 packet"
	if d.Count != 1 {
		packets = fmt.Sprintf("%d packets", d.Count)
	}
	text := fmt.Sprintf("%s -> %s %s, %s, by %s", d.From, d.To, d.Port, packets, rule)
	if d.Direction != "" {
		text += " at " + d.Direction
	}
	return text + " on " + host
}

// setNames are the network sets in force.
type setNames struct {
	names []string
	nets  [][]netip.Prefix
}

// setsOf are the network sets that list an address that no task has.
func (t *Teller) setsOf(a netip.Addr, app string) []string {
	if app != "" || !a.IsValid() {
		return nil
	}
	if t.names == nil {
		t.names = &setNames{}
		for _, raw := range t.state.Resources() {
			if raw.Kind != resource.KindNetworkSet && raw.Kind != resource.KindGlobalNetworkSet {
				continue
			}
			typed, err := resource.Parse(raw)
			if err != nil {
				continue // it is in force, so it parses
			}
			var nets []netip.Prefix
			for _, text := range typed.(*resource.Set).Spec.Nets {
				if p, err := resource.ParseNet(text); err == nil {
					nets = append(nets, p)
				}
			}
			t.names.names, t.names.nets = append(t.names.names, raw.String()), append(t.names.nets, nets)
		}
	}
	var names []string
	for i, nets := range t.names.nets {
		if slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(a) }) {
			names = append(names, t.names.names[i])
		}
	}
	return names
}

// short is a time span with three digits.
func short(d time.Duration) string {
	for unit := time.Second; unit > 1; unit /= 1000 {
		if d >= unit {
			return d.Round(unit / 100).String()
		}
	}
	return d.String()
}
