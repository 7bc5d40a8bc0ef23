package wire

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// JSON prints a protobuf message as Mesos does: proto field names in the order
// of declaration, enums by name, bytes in base64, floats with a point, unset
// optional fields absent unless the schema has a default for them, repeated
// fields absent when empty save those that a master lists even then.
//
// Source: recorded traffic of Mesos 1.12; CLUSTER-API 3.2.
func JSON(m any) []byte { return Printer{}.JSON(m) }

// Printer is JSON with additions.
type Printer struct {
	// Extra returns further members ("key":value) of a message, "" for none.
	// It is how fields show that mesos-go's schema does not know.
	Extra func(m any) string
}

// JSON prints m.
func (p Printer) JSON(m any) []byte {
	return p.message(nil, reflect.Indirect(reflect.ValueOf(m)))
}

// listed are the repeated fields that are printed when empty too.
var listed = map[string]bool{
	"master.Response_GetTasks.tasks":                     true,
	"master.Response_GetTasks.unreachable_tasks":         true,
	"master.Response_GetTasks.completed_tasks":           true,
	"master.Response_GetExecutors.executors":             true,
	"master.Response_GetFrameworks.frameworks":           true,
	"master.Response_GetFrameworks.completed_frameworks": true,
	"master.Response_GetAgents.agents":                   true,
	"master.Response_GetAgents.recovered_agents":         true,
	"agent.Response_GetTasks.pending_tasks":              true,
	"agent.Response_GetTasks.queued_tasks":               true,
	"agent.Response_GetTasks.launched_tasks":             true,
	"agent.Response_GetTasks.terminated_tasks":           true,
	"agent.Response_GetTasks.completed_tasks":            true,
	"agent.Response_GetExecutors.executors":              true,
	"agent.Response_GetExecutors.completed_executors":    true,
	"agent.Response_GetFrameworks.frameworks":            true,
	"agent.Response_GetFrameworks.completed_frameworks":  true,
}

// newerEnums are values that Mesos 1.12 sends and mesos-go has no name for.
var newerEnums = map[string]string{"lib.MasterInfo_Capability_Type 3": "QUOTA_V2"}

// field is what the struct tag of a generated type says.
type field struct {
	index  int
	name   string
	def    string // the default as JSON, "" for none
	listed bool
}

var schemas sync.Map // reflect.Type → []field

func schema(t reflect.Type) []field {
	if s, ok := schemas.Load(t); ok {
		return s.([]field)
	}
	var fields []field
	for i := range t.NumField() {
		tag := t.Field(i).Tag.Get("protobuf")
		if tag == "" {
			continue
		}
		f := field{index: i}
		var def string
		for part := range strings.SplitSeq(tag, ",") {
			if v, ok := strings.CutPrefix(part, "name="); ok && f.name == "" {
				f.name = v
			}
			if v, ok := strings.CutPrefix(part, "def="); ok {
				def = v
			}
		}
		if def != "" && f.name != "role" { // Resource.role is deprecated: never printed unset
			f.def = defaultJSON(t.Field(i).Type, def)
		}
		f.listed = listed[typeName(t)+"."+f.name]
		fields = append(fields, f)
	}
	schemas.Store(t, fields)
	return fields
}

func typeName(t reflect.Type) string {
	path := t.PkgPath()
	return path[strings.LastIndexByte(path, '/')+1:] + "." + t.Name()
}

func defaultJSON(t reflect.Type, def string) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	v := reflect.New(t).Elem()
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(def == "1")
	case reflect.Int32, reflect.Int64:
		n, _ := strconv.ParseInt(def, 10, 64)
		v.SetInt(n)
	case reflect.Uint32, reflect.Uint64:
		n, _ := strconv.ParseUint(def, 10, 64)
		v.SetUint(n)
	case reflect.Float32, reflect.Float64:
		x, _ := strconv.ParseFloat(def, 64)
		v.SetFloat(x)
	case reflect.String:
		v.SetString(def)
	default:
		return ""
	}
	return string(Printer{}.value(nil, v))
}

func (p Printer) message(b []byte, v reflect.Value) []byte {
	b = append(b, '{')
	first := true
	member := func(name string) {
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(strconv.AppendQuote(b, name), ':')
	}
	for _, f := range schema(v.Type()) {
		fv := v.Field(f.index)
		switch fv.Kind() {
		case reflect.Pointer:
			if fv.IsNil() {
				if f.def != "" {
					member(f.name)
					b = append(b, f.def...)
				}
				continue
			}
			fv = fv.Elem()
		case reflect.Slice, reflect.Map:
			if fv.IsNil() && fv.Type().Elem().Kind() == reflect.Uint8 {
				continue
			}
			if fv.Len() == 0 && !f.listed {
				continue
			}
		}
		member(f.name)
		b = p.value(b, fv)
	}
	if p.Extra != nil && v.CanAddr() {
		if extra := p.Extra(v.Addr().Interface()); extra != "" {
			if !first {
				b = append(b, ',')
			}
			b = append(b, extra...)
		}
	}
	return append(b, '}')
}

func (p Printer) value(b []byte, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.Struct:
		return p.message(b, v)
	case reflect.Pointer:
		return p.value(b, v.Elem())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return strconv.AppendQuote(b, base64.StdEncoding.EncodeToString(v.Bytes()))
		}
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = p.value(b, v.Index(i))
		}
		return append(b, ']')
	case reflect.Map:
		b = append(b, '{')
		for i, k := range v.MapKeys() {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, k.String()), ':')
			e := reflect.New(v.Type().Elem()).Elem()
			e.Set(v.MapIndex(k))
			b = p.value(b, e)
		}
		return append(b, '}')
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool())
	case reflect.String:
		return appendString(b, v.String())
	case reflect.Float32, reflect.Float64:
		return appendFloat(b, v.Float())
	case reflect.Int32, reflect.Int64, reflect.Int:
		if e, ok := v.Interface().(fmt.Stringer); ok {
			name := e.String()
			if newer, ok := newerEnums[typeName(v.Type())+" "+name]; ok {
				name = newer
			}
			return strconv.AppendQuote(b, name)
		}
		return strconv.AppendInt(b, v.Int(), 10)
	case reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(b, v.Uint(), 10)
	}
	panic("wire: no JSON for " + v.Type().String())
}

// appendFloat prints a number as Mesos does: 15.0, never 15.
func appendFloat(b []byte, x float64) []byte {
	start := len(b)
	b = strconv.AppendFloat(b, x, 'f', -1, 64)
	if x == math.Trunc(x) && !strings.Contains(string(b[start:]), ".") {
		b = append(b, ".0"...)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	var w strings.Builder
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	_ = e.Encode(s)
	return append(b, strings.TrimSuffix(w.String(), "\n")...)
}
