package work

import (
	"strings"

	"github.com/taskwall/taskwall/events"
)

// Word is what the log says of a report: an event of which the kind and the body
// are set. The body names the host and the report's place. It is false of a
// report that is only measured or kept.
func (r *Report) Word() (ev events.Event, ok bool) {
	switch {
	case r.Join != nil:
		b := *r.Join
		b.Host, b.Report = r.Host, r.Seq
		ev.Kind, ev.Join = events.AgentJoin, &b
	case r.Wiring != nil:
		b := *r.Wiring
		b.Host, b.Report = r.Host, r.Seq
		ev.Kind, ev.Wiring = events.EndpointState, &b
	case r.Session != nil:
		b := *r.Session
		b.Host, b.Report = r.Host, r.Seq
		b.Peer, b.State, b.Error = clip(b.Peer), clip(b.State), clip(b.Error)
		ev.Kind, ev.Session = events.BGPSession, &b
	case r.Refused != nil:
		b := *r.Refused
		b.Host, b.Report = r.Host, r.Seq
		b.Peer, b.Reason = clip(b.Peer), clip(b.Reason)
		ev.Kind, ev.Refused = events.BGPRefused, &b
	default:
		return ev, false
	}
	return ev, true
}

// maxText bounds what a host may say in words about BGP, in bytes. Part of it may
// come from a peer that nobody vouches for.
const maxText = 512

func clip(text string) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}
