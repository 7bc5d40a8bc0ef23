package ipset

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"github.com/taskwall/taskwall/agent/internal/nfnl"
	"github.com/taskwall/taskwall/agent/internal/nlattr"
	"golang.org/x/sys/unix"
)

// Conn talks to the kernel's sets of the network namespace in which it was
// dialled. It may be used by several goroutines; their calls take turns.
type Conn struct {
	// MaxElements bounds each set that is made here.
	MaxElements uint32

	nl *nfnl.Conn
}

// Dial opens a connection in the calling thread's network namespace.
func Dial() (*Conn, error) {
	nl, err := nfnl.Dial()
	if err != nil {
		return nil, fmt.Errorf("connecting to IP sets: %w", err)
	}
	return &Conn{MaxElements: maxElements, nl: nl}, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return c.nl.Close() }

// Create makes a set. One that is there with the same type and settings is
// kept as it is; with others it is ErrOtherType.
func (c *Conn) Create(name string, t Type) error {
	m := message(cmdCreate, netlink.Acknowledge|netlink.Create, func(ae *netlink.AttributeEncoder) {
		ae.String(attrSetName, name)
		ae.String(attrTypeName, string(t))
		ae.Uint8(attrRevision, t.revision())
		ae.Uint8(attrFamily, unix.AF_INET)
		ae.Nested(attrData, func(d *netlink.AttributeEncoder) error {
			d.Bytes(dataMaxElem|netOrder, be32(c.MaxElements))
			if t == NetIface {
				d.Bytes(dataFlags|netOrder, be32(flagWithSkbInfo))
			}
			return nil
		})
	})
	if _, err := c.do(m); err != nil {
		if errors.Is(err, unix.EEXIST) {
			err = ErrOtherType
		}
		return fmt.Errorf("creating set %s: %w", name, err)
	}
	return nil
}

// Destroy removes a set; one that is not there is no error. A set that rules
// refer to is ErrInUse.
func (c *Conn) Destroy(name string) error {
	_, err := c.do(message(cmdDestroy, netlink.Acknowledge, func(ae *netlink.AttributeEncoder) {
		ae.String(attrSetName, name)
	}))
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EBUSY), errorNumber(err) == errBusy:
		err = ErrInUse
	}
	return fmt.Errorf("destroying set %s: %w", name, err)
}

// Replace puts a new set with the entries in the place of one of the same name
// that has another type or other settings. To a packet it happens at once. A set
// of another type that a rule refers to cannot be replaced: ErrInUse.
func (c *Conn) Replace(name string, t Type, entries []Entry) error {
	const standby = "tw-standby"
	if err := c.Destroy(standby); err != nil { // of an attempt that was cut short
		return err
	}
	if err := c.Create(standby, t); err != nil {
		return err
	}
	err := c.Apply(Edit{Set: standby, Type: t, Entries: entries})
	if err == nil {
		_, err = c.do(message(cmdSwap, netlink.Acknowledge, func(ae *netlink.AttributeEncoder) {
			ae.String(attrSetName, standby)
			ae.String(attrSetName2, name)
		}))
		if errorNumber(err) == errOther {
			if err = c.Destroy(name); err == nil {
				if err = c.Create(name, t); err == nil {
					err = c.Apply(Edit{Set: name, Type: t, Entries: entries})
				}
			}
		}
	}
	if err = errors.Join(err, c.Destroy(standby)); err != nil {
		return fmt.Errorf("replacing set %s, which has another type or other settings: %w", name, err)
	}
	return nil
}

// Apply makes edits in order, all in as few system calls as their size allows.
// When one fails the others are made nevertheless; the first error is returned.
func (c *Conn) Apply(edits ...Edit) error {
	var batch []netlink.Message
	var names []string // the set of each message
	var first error
	flush := func() {
		if at, err := c.do(batch...); err != nil && first == nil {
			switch {
			case errors.Is(err, unix.ENOENT):
				err = ErrAbsent
			case errorNumber(err) == errFull:
				err = ErrFull
			}
			first = fmt.Errorf("editing set %s: %w", names[at], err)
		}
		batch, names = batch[:0], names[:0]
	}
	for _, e := range edits {
		for entries := e.Entries; len(entries) > 0; {
			n := min(len(entries), perMessage)
			batch, names = append(batch, editMessage(e, entries[:n])), append(names, e.Set)
			entries = entries[n:]
			if len(batch) == perSend || n == perMessage { // keep a send under the socket's buffer
				flush()
			}
		}
	}
	if len(batch) > 0 {
		flush()
	}
	return first
}

func editMessage(e Edit, entries []Entry) netlink.Message {
	cmd := cmdAdd
	if e.Remove {
		cmd = cmdDel
	}
	return message(cmd, netlink.Acknowledge, func(ae *netlink.AttributeEncoder) {
		ae.String(attrSetName, e.Set)
		ae.Uint32(attrLineno, 0)
		ae.Nested(attrADT, func(adt *netlink.AttributeEncoder) error {
			for i, en := range entries {
				adt.Nested(attrData, func(d *netlink.AttributeEncoder) error {
					en.encode(e.Type, uint32(i+1), d)
					return nil
				})
			}
			return nil
		})
	})
}

// List reads one set with its elements; a set that is not there is ErrAbsent.
func (c *Conn) List(name string) (Set, error) {
	sets, err := c.dump(name, 0)
	if err == nil && len(sets) == 0 {
		err = ErrAbsent
	}
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			err = ErrAbsent
		}
		return Set{}, fmt.Errorf("listing set %s: %w", name, err)
	}
	return sets[0], nil
}

// Headers reads the headers of all sets in the namespace.
func (c *Conn) Headers() ([]Header, error) {
	sets, err := c.dump("", flagListHeader)
	if err != nil {
		return nil, fmt.Errorf("listing sets: %w", err)
	}
	hs := make([]Header, len(sets))
	for i, s := range sets {
		hs[i] = s.Header
	}
	return hs, nil
}

func (c *Conn) dump(name string, flags uint32) ([]Set, error) {
	m := message(cmdList, netlink.Dump, func(ae *netlink.AttributeEncoder) {
		if name != "" {
			ae.String(attrSetName, name)
		}
		if flags != 0 {
			ae.Bytes(attrFlags|netOrder, be32(flags))
		}
	})
	var sets []Set
	err := c.nl.Dump(m, func() { sets = nil }, func(data []byte) {
		if len(data) >= 4 {
			sets = collect(sets, data[4:])
		}
	})
	if err != nil {
		return nil, err // also when a part was read: it is never taken for the whole
	}
	return sets, nil
}

// collect adds one message of a dump. A large set comes in several messages;
// only the first has the header.
func collect(sets []Set, b []byte) []Set {
	var name string
	var typ Type
	refs, elements := 0, 0
	var adt []byte
	nlattr.Walk(b, func(t uint16, v []byte) {
		switch t {
		case attrSetName:
			name = cString(v)
		case attrTypeName:
			typ = Type(cString(v))
		case attrData:
			nlattr.Walk(v, func(t uint16, v []byte) {
				switch {
				case len(v) != 4:
				case t == dataReferences:
					refs = int(binary.BigEndian.Uint32(v))
				case t == dataElements:
					elements = int(binary.BigEndian.Uint32(v))
				}
			})
		case attrADT:
			adt = v
		}
	})
	if name == "" {
		return sets
	}
	if len(sets) == 0 || sets[len(sets)-1].Name != name {
		sets = append(sets, Set{Header: Header{Name: name, Type: typ, References: refs}})
		if adt != nil && elements > 0 { // a hint: more or fewer may come
			sets[len(sets)-1].Entries = make([]Entry, 0, min(elements, maxElements))
		}
	}
	s := &sets[len(sets)-1]
	nlattr.Walk(adt, func(t uint16, v []byte) {
		if t != attrData {
			return
		}
		if e, ok := decode(s.Type, v); ok {
			s.Entries = append(s.Entries, e)
		}
	})
	return sets
}

// do sends messages in one system call and reads an acknowledgement for each.
// It returns the first error, with the index of its message, after all were read.
func (c *Conn) do(ms ...netlink.Message) (at int, first error) {
	answers, err := c.nl.Do(ms...)
	if err != nil {
		return 0, err
	}
	for i, err := range answers {
		if err != nil {
			return i, err
		}
	}
	return 0, nil
}
