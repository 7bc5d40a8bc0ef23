package selector

import "fmt"

// Error says what is wrong with a selector's text, and what to write instead.
type Error struct {
	Column  int // of the text, in bytes, from 1
	Message string
	Instead string // what to write; "" when there is nothing better to say
}

// Error is the message with its column.
func (e *Error) Error() string {
	if e.Instead == "" {
		return fmt.Sprintf("column %d: %s", e.Column, e.Message)
	}
	return fmt.Sprintf("column %d: %s; %s", e.Column, e.Message, e.Instead)
}
