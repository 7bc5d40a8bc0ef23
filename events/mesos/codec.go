package mesos

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"

	"github.com/mesos/mesos-go/api/v1/lib/master"
)

// Encoding is how a master is asked to speak.
type Encoding string

// The encodings. Protobuf is smaller and faster to read; JSON serves masters
// behind proxies that look into it. Both fold to the same picture.
const (
	Protobuf Encoding = "protobuf"
	JSON     Encoding = "json"
)

func (e Encoding) mediaType() string {
	if e == JSON {
		return "application/json"
	}
	return "application/x-protobuf"
}

// encodingOf is the encoding of an answer, whatever was asked for.
func encodingOf(contentType string) (Encoding, error) {
	media, _, err := mime.ParseMediaType(contentType)
	switch {
	case err == nil && media == JSON.mediaType():
		return JSON, nil
	case err == nil && media == Protobuf.mediaType():
		return Protobuf, nil
	}
	return "", fmt.Errorf("%w %q", ErrContentType, contentType)
}

// call is the body of a call that has a type and nothing else.
func (e Encoding) call(t master.Call_Type) []byte {
	if e == JSON {
		return []byte(`{"type":"` + t.String() + `"}`)
	}
	b, err := (&master.Call{Type: t}).Marshal()
	if err != nil {
		panic(fmt.Sprintf("mesos: a call of type %v cannot be encoded: %v", t, err)) // a single enum always can
	}
	return b
}

func (e Encoding) event(b []byte) (w wireEvent, err error) {
	if e == JSON {
		return w, lenient(json.Unmarshal(b, &w))
	}
	var ev master.Event
	if err := unmarshal(&ev, b); err != nil {
		return w, err
	}
	return fromEvent(&ev), nil
}

func (e Encoding) response(b []byte) (w wireResponse, err error) {
	if e == JSON {
		return w, lenient(json.Unmarshal(b, &w))
	}
	var r master.Response
	if err := unmarshal(&r, b); err != nil {
		return w, err
	}
	return fromResponse(&r), nil
}

// lenient makes a value of the wrong type no reason to lose what is around it:
// encoding/json skips such a value, decodes the rest and then says so.
func lenient(err error) error {
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return errPartial{err}
	}
	return err
}

// errPartial: what could be read of a record is right, but it was not all.
type errPartial struct{ error }

func (e errPartial) Unwrap() error { return e.error }

// unmarshal guards against the generated code, which was not made for hostile
// bytes: a panic in it costs the record, not the process.
func unmarshal(m interface{ Unmarshal([]byte) error }, b []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("protobuf decoder panicked: %v", r)
		}
	}()
	return m.Unmarshal(b)
}
