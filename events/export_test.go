package events

import "github.com/taskwall/taskwall/events/canon"

// Quick says whether an event is read by the quick reader.
func Quick(text []byte) bool {
	r := canon.Read(text)
	readEvent(r, new(Event))
	return r.Done()
}
