package mesos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// errProto: bytes that are not a protobuf message.
var errProto = errors.New("malformed protobuf")

// Wire types of the protobuf encoding.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireStart   = 3 // of a group
	wireEnd     = 4
	wireFixed32 = 5
)

// fields walks over the fields of one message. It does not descend by itself:
// the caller does, along the fields that it knows, so that no depth of nesting
// in the bytes can exhaust the stack.
type fields struct {
	b   []byte
	bad *int // counts what is not right, in all of a record

	num  int    // the current field's number
	kind int    // and wire type
	n    uint64 // a varint or fixed value
	body []byte // the content of a wireBytes field
}

// next moves to the next field of a known wire type; groups are skipped.
func (f *fields) next() bool {
	for len(f.b) > 0 {
		tag, ok := f.varint()
		if !ok || tag>>3 == 0 || tag>>3 > math.MaxInt32 {
			return f.fail()
		}
		f.num, f.kind = int(tag>>3), int(tag&7)
		switch f.kind {
		case wireStart:
			if !f.skipGroup() {
				return f.fail()
			}
			continue
		case wireEnd:
			return f.fail() // of no group
		}
		if !f.value() {
			return f.fail()
		}
		return true
	}
	return false
}

func (f *fields) fail() bool {
	*f.bad++
	f.b = nil
	return false
}

// value consumes the value of a field that is no group.
func (f *fields) value() (ok bool) {
	switch f.kind {
	case wireVarint:
		f.n, ok = f.varint()
	case wireFixed64:
		if ok = len(f.b) >= 8; ok {
			f.n, f.b = binary.LittleEndian.Uint64(f.b), f.b[8:]
		}
	case wireFixed32:
		if ok = len(f.b) >= 4; ok {
			f.n, f.b = uint64(binary.LittleEndian.Uint32(f.b)), f.b[4:]
		}
	case wireBytes:
		var n uint64
		if n, ok = f.varint(); ok {
			if ok = n <= uint64(len(f.b)); ok {
				f.body, f.b = f.b[:n], f.b[n:]
			}
		}
	}
	return ok
}

// skipGroup consumes a group, and those inside it, without recursion. Mesos
// uses none, but the decoder that mesos-go generates recurses into each: a
// record of 200 MB of opened groups ends the process.
func (f *fields) skipGroup() bool {
	for depth := 1; depth > 0; {
		tag, ok := f.varint()
		if !ok {
			return false
		}
		switch f.kind = int(tag & 7); f.kind {
		case wireStart:
			depth++
		case wireEnd:
			depth--
		default:
			if !f.value() {
				return false
			}
		}
	}
	return true
}

func (f *fields) varint() (uint64, bool) {
	n, size := binary.Uvarint(f.b)
	if size <= 0 {
		return 0, false
	}
	f.b = f.b[size:]
	return n, true
}

// message is the current field as a message to descend into.
func (f *fields) message() fields {
	if !f.is(wireBytes) {
		return fields{bad: f.bad}
	}
	return fields{b: f.body, bad: f.bad}
}

func (f *fields) text() string {
	if !f.is(wireBytes) {
		return ""
	}
	return string(f.body)
}

func (f *fields) int() int64 {
	if !f.is(wireVarint) {
		return 0
	}
	return int64(f.n)
}

func (f *fields) uint32() uint32 { return uint32(f.int()) }

func (f *fields) bool() bool { return f.int() != 0 }

func (f *fields) double() float64 {
	if !f.is(wireFixed64) {
		return 0
	}
	return math.Float64frombits(f.n)
}

// is reports whether the current field has a wire type, and counts it if not.
func (f *fields) is(kind int) bool {
	if f.kind != kind {
		*f.bad++
		return false
	}
	return true
}

// id is the value of a message that has nothing else, as all ids have.
func (f *fields) id() (v value) {
	for m := f.message(); m.next(); {
		if m.num == 1 {
			v.Value = m.text()
		}
	}
	return v
}

// whole is what decoding all of a record came to.
func whole(bad int) error {
	if bad > 0 {
		return errPartial{fmt.Errorf("%w: %d fields", errProto, bad)}
	}
	return nil
}
