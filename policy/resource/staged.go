package resource

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
)

// Promote returns the resources as they would be with every staged policy in
// force: "Set" puts the policy of the same name, "Delete" deletes it, "Ignore"
// does nothing. Staged is false when there are no staged policies.
func Promote(resources []events.Resource) (promoted []events.Resource, staged bool, err error) {
	byKey := map[events.ResourceKey]events.Resource{}
	for _, r := range resources {
		byKey[r.ResourceKey] = r
	}
	for _, r := range resources {
		if !strings.HasPrefix(r.Kind, "Staged") {
			continue
		}
		typed, err := Parse(r)
		if err != nil {
			return nil, false, err
		}
		staged = true
		delete(byKey, r.ResourceKey)
		p := typed.(*Policy)
		action := p.Spec.StagedAction
		p.Kind, p.Spec.StagedAction = strings.TrimPrefix(p.Kind, "Staged"), ""
		switch action {
		case "Delete":
			delete(byKey, p.Key())
		case "Ignore":
		default:
			body, err := json.Marshal(p)
			if err != nil {
				return nil, false, fmt.Errorf("promoting %s: %w", r.ResourceKey, err)
			}
			byKey[p.Key()] = events.Resource{ResourceKey: p.Key(), File: r.File, Line: r.Line, Lines: r.Lines, Body: body}
		}
	}
	for _, r := range byKey {
		promoted = append(promoted, r)
	}
	slices.SortFunc(promoted, func(a, b events.Resource) int { return Compare(a.ResourceKey, b.ResourceKey) })
	return promoted, staged, nil
}
