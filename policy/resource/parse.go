package resource

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/taskwall/taskwall/events"
)

// maxBody bounds one resource in the log, in bytes.
const maxBody = 1 << 20

// Kinds lists the kinds that are read, in the order in which people think of
// them.
var Kinds = []string{
	KindTier, KindGlobalNetworkPolicy, KindNetworkPolicy, KindGlobalNetworkSet, KindNetworkSet, KindIPPool, KindLabelGuard,
	KindStagedGlobalNetworkPolicy, KindStagedNetworkPolicy, KindBGPConfiguration, KindBGPPeer, KindBGPFilter,
}

// blank returns an empty resource of a kind, nil for an unknown one.
func blank(kind string) Typed {
	switch kind {
	case KindTier:
		return &Tier{}
	case KindGlobalNetworkPolicy, KindNetworkPolicy, KindStagedGlobalNetworkPolicy, KindStagedNetworkPolicy:
		return &Policy{}
	case KindGlobalNetworkSet, KindNetworkSet:
		return &Set{}
	case KindIPPool:
		return &Pool{}
	case KindLabelGuard:
		return &Guard{}
	case KindBGPConfiguration:
		return &BGPConfiguration{}
	case KindBGPPeer:
		return &BGPPeer{}
	case KindBGPFilter:
		return &BGPFilter{}
	}
	return nil
}

// Parse reads and checks a resource of the log, and that its key is the one
// that its body has. An error is Problems, placed at the resource's line.
func Parse(r events.Resource) (Typed, error) {
	at := Problem{File: r.File, Line: r.Line}
	if len(r.Body) > maxBody {
		at.Message = fmt.Sprintf("%s has %d bytes", r.ResourceKey, len(r.Body))
		at.Instead = fmt.Sprintf("split it: at most %d are read", maxBody)
		return nil, Problems{at}
	}
	t := blank(r.Kind)
	if t == nil {
		at.Message, at.Instead = noKind(r.Kind)
		return nil, Problems{at}
	}
	d := json.NewDecoder(bytes.NewReader(r.Body))
	d.DisallowUnknownFields()
	if err := d.Decode(t); err != nil {
		at.Message = fmt.Sprintf("%s: %v", r.ResourceKey, err)
		return nil, Problems{at}
	}
	if t.Key() != r.ResourceKey {
		at.Message = fmt.Sprintf("%s holds the body of %s", r.ResourceKey, t.Key())
		return nil, Problems{at}
	}
	var c checker
	t.check(&c)
	if len(c.issues) == 0 {
		return t, nil
	}
	var problems Problems
	for _, i := range c.issues {
		p := at
		p.Field = i.Path.String()
		p.Message = fmt.Sprintf("%s: %s", r.ResourceKey, i.Message)
		p.Instead = i.Instead
		problems = append(problems, p)
	}
	return nil, problems
}
