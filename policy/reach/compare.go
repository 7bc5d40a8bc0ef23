package reach

import (
	"slices"

	"github.com/taskwall/taskwall/events/work"
)

// Book makes classes that outlast a moment, for comparing what passes between
// them under other policies. Programs and sets are told apart by their names,
// so a name must stand for the same all the time.
type Book struct {
	x        *Index
	programs map[string]*program
}

// NewBook is a book without classes.
func NewBook() *Book {
	return &Book{x: &Index{numbers: map[string]int{}}, programs: map[string]*program{}}
}

// Class is endpoints that no rule can tell apart, or a network, under one set of
// policies.
type Class struct{ c class }

// NamedPort says that a set of ports has a class's addresses with a port, as
// the set's member writes it: "tcp:8443".
type NamedPort struct{ Set, Port string }

// Program says what a name stands for.
func (b *Book) Program(name string, p *work.Program) {
	if b.programs[name] == nil {
		b.programs[name] = b.x.compile(p)
	}
}

// Class is those that have a program of the book, by its name, and are in these
// sets. Without a program, "", they are closed.
func (b *Book) Class(program string, sets []string, ports []NamedPort) *Class {
	c := b.network(sets)
	if c.c.program = b.programs[program]; c.c.program == nil {
		c.c.program = b.x.compile(&work.Program{})
	}
	for _, p := range ports {
		c.c.ports = append(c.c.ports, parseNamed(b.x.number([]string{p.Set})[0], p.Port))
	}
	return c
}

// Network is addresses that no endpoint has, and that are in these sets.
func (b *Book) Network(sets []string) *Class { return b.network(sets) }

func (b *Book) network(sets []string) *Class {
	numbers := b.x.number(sets)
	slices.Sort(numbers)
	return &Class{class{sets: slices.Compact(numbers)}}
}

// Pair is a sender and a receiver.
type Pair struct{ From, To *Class }

// Changes says what may pass after and not before, with the rules that let it,
// and what might pass before and may not after, with the rules that let it
// then. A port counts when it can be reached from some source port.
func Changes(before, after Pair) (gained, lost []Span) {
	list := []int{other}
	for _, p := range []Pair{before, after} {
		list = append(list, protocols(&p.From.c, &p.To.c)...)
	}
	slices.Sort(list)
	var restGained, restLost []Span // of Other, which is the last
	list = slices.Compact(list)
	for _, protocol := range slices.Backward(list) {
		was, is := between1(&before.From.c, &before.To.c, protocol), between1(&after.From.c, &after.To.c, protocol)
		more, less := only(is, was), only(was, is)
		if protocol == other {
			restGained, restLost = more, less
			continue
		}
		gained, lost = append(except(restGained, more, protocol), gained...), append(except(restLost, less, protocol), lost...)
	}
	return append(gained, restGained...), append(lost, restLost...)
}

// except says of the other protocols that one of them, which a rule names, is
// not like them. It returns the spans that are to be told of the one.
func except(rest, spans []Span, protocol int) []Span {
	switch {
	case usual(protocol) || len(rest) == 0:
		return spans
	case len(spans) == 1 && spans[0].whole() && spans[0].SameRules(&rest[0]):
		return nil
	}
	rest[0].Not = append([]Protocol{Protocol(protocol)}, rest[0].Not...)
	return spans
}

// only is the ports of a list that are not among those of another.
func only(a, b []Span) []Span {
	var taken []span
	for _, s := range b {
		taken = append(taken, span{int(s.First), int(s.Last)})
	}
	taken = union(taken)
	var out []Span
	for _, s := range a {
		for _, left := range minus([]span{{int(s.First), int(s.Last)}}, taken) {
			one := s
			one.First, one.Last, one.Sources, one.Not = uint16(left.first), uint16(left.last), nil, nil
			out = append(out, one)
			taken = union(append(taken, left)) // another source port says the same again
		}
	}
	return out
}
