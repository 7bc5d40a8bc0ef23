package eventlog

import (
	"fmt"

	"github.com/taskwall/taskwall/events"
)

// maxID bounds an event's id, in bytes.
const maxID = 512

// Validate checks what the fold relies on: a schema that this program knows,
// an id, and exactly the body that the kind names.
func Validate(e *events.Event) error {
	if e.Schema < 1 || e.Schema > events.Schema {
		return fmt.Errorf("%w: schema %d, this program knows 1 to %d", ErrInvalid, e.Schema, events.Schema)
	}
	if e.ID == "" || len(e.ID) > maxID {
		return fmt.Errorf("%w: an id has 1 to %d bytes, this one %d", ErrInvalid, maxID, len(e.ID))
	}
	for _, c := range []byte(e.ID) {
		if c < ' ' || c == 0x7f { // the id travels in a header
			return fmt.Errorf("%w: the id has a control character", ErrInvalid)
		}
	}
	if e.ID[0] == ' ' || e.ID[len(e.ID)-1] == ' ' {
		return fmt.Errorf("%w: the id begins or ends with a space", ErrInvalid)
	}
	named, known := body(e)
	if !known {
		return fmt.Errorf("%w: unknown kind %q", ErrInvalid, e.Kind)
	}
	if !named || bodies(e) != 1 {
		return fmt.Errorf("%w: %s must have its own body and no other", ErrInvalid, e.Kind)
	}
	return nil
}

// body tells whether the body that the kind names is there, and whether the
// kind is known.
func body(e *events.Event) (named, known bool) {
	switch e.Kind {
	case events.TaskPut:
		return e.Task != nil, true
	case events.HostPut:
		return e.Host != nil, true
	case events.FrameworkPut:
		return e.Framework != nil, true
	case events.MarathonPut:
		return e.Marathon != nil, true
	case events.AppPut:
		return e.App != nil, true
	case events.DeploymentPut:
		return e.Deployment != nil, true
	case events.PolicyApply:
		return e.Policy != nil, true
	case events.SettingsPut:
		return e.Settings != nil, true
	case events.AgentJoin:
		return e.Join != nil, true
	case events.EndpointState:
		return e.Wiring != nil, true
	case events.TermBegin:
		return e.Term != nil, true
	case events.BGPSession:
		return e.Session != nil, true
	case events.BGPRefused:
		return e.Refused != nil, true
	case events.HostDrain:
		return e.Drain != nil, true
	case events.TaskGone, events.HostGone, events.FrameworkGone, events.AppGone:
		return e.Gone != nil, true
	}
	return false, false
}

func bodies(e *events.Event) int {
	n := 0
	for _, set := range []bool{
		e.Task != nil, e.Host != nil, e.Framework != nil, e.Marathon != nil, e.App != nil, e.Deployment != nil,
		e.Policy != nil, e.Settings != nil, e.Join != nil, e.Wiring != nil, e.Term != nil, e.Gone != nil,
		e.Session != nil, e.Refused != nil, e.Drain != nil,
	} {
		if set {
			n++
		}
	}
	return n
}
