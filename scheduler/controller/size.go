package controller

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
)

// Fits says whether a policy change fits into one entry of the log, so that one
// that does not is refused before anything is sent.
func Fits(nc *nats.Conn, change events.PolicyChange) error {
	data, err := json.Marshal(events.Event{Kind: events.PolicyApply, Policy: &change})
	if err != nil {
		return fmt.Errorf("encoding the policy change: %w", err)
	}
	// The entry's own headers are short of what Pack keeps free for them.
	switch err := bus.Pack(nc, &nats.Msg{Subject: bus.EventsSubject}, data); {
	case errors.Is(err, bus.ErrTooLarge):
		return fmt.Errorf("the policy change has %d resources in %.1f MB, too large for one change, whose compressed form the message bus limits to %.1f MB: apply it in parts, such as one directory after another",
			len(change.Put), float64(len(data))/1e6, float64(nc.MaxPayload())/1e6)
	case err != nil:
		return err
	}
	return nil
}
