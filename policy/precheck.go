package policy

import "github.com/taskwall/taskwall/events"

// Check says whether Apply would take the change, and changes nothing.
func (r *Resolver) Check(put []events.Resource, del []events.ResourceKey) error {
	_, err := r.check(put, del)
	return err
}
