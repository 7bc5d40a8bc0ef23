package selector

import "fmt"

// Namespace is the label by which selectors see a thing's namespace: for an
// endpoint its environment. It is absent where there is none. The name is
// Calico's.
const Namespace = "projectcalico.org/namespace"

// All selects everything.
func All() *Selector { return &Selector{node{op: opAll}} }

// Equal selects what has the label key with this value. The value must not
// hold both kinds of quote.
func Equal(key, value string) *Selector {
	return &Selector{node{op: opEq, key: key, value: value}}
}

// And selects what both select; nil selects everything.
func And(a, b *Selector) *Selector {
	switch {
	case a == nil && b == nil:
		return All()
	case a == nil || a.root.op == opAll:
		return And(b, nil)
	case b == nil || b.root.op == opAll:
		return a
	}
	n := node{op: opAnd, kids: make([]node, 0, 2)}
	n.adopt(a.root)
	n.adopt(b.root)
	return &Selector{n}
}

// Namespaces turns a namespaceSelector into a selector over the things in the
// namespaces, as Calico does: "all()" is what has a namespace, "global()" what
// has none, and the namespace's labels are looked at. An environment is known
// by its name only, so other labels than that are an *Error.
func Namespaces(s *Selector) (*Selector, error) {
	root, err := s.root.ofNamespace()
	if err != nil {
		return nil, err
	}
	return &Selector{root}, nil
}

func (n node) ofNamespace() (node, error) {
	switch n.op {
	case opAll:
		return node{op: opHas, key: Namespace}, nil
	case opGlobal:
		return not(node{op: opHas, key: Namespace}), nil
	case opNot, opAnd, opOr:
		kids := n.kids
		n.kids = make([]node, 0, len(kids))
		for _, kid := range kids {
			k, err := kid.ofNamespace()
			if err != nil {
				return node{}, err
			}
			if n.op == opNot {
				return not(k), nil
			}
			n.adopt(k)
		}
		return n, nil
	}
	switch n.key {
	case "projectcalico.org/name", "kubernetes.io/metadata.name":
		n.key = Namespace
		return n, nil
	}
	return node{}, &Error{1, fmt.Sprintf("an environment has no label %s, only a name", n.key), "test projectcalico.org/name"}
}
