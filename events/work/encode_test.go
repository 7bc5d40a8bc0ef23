package work

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestEndpointsAndRoutesAreWrittenAsJSONMarshalDoes(t *testing.T) {
	text := rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-z0-9/._-]{1,20}`), rapid.String(),
		rapid.SampledFrom([]string{"<&>", "\"\\", "\x7f", "\xff", "\u2028", "a\tb\n"}))
	addr := rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("0.0.0.0"),
		netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:10.8.0.1"), netip.MustParseAddr(`fe80::1%<e"1>`)})
	prefix := rapid.SampledFrom([]netip.Prefix{{}, netip.MustParsePrefix("10.8.0.0/26"), netip.MustParsePrefix("0.0.0.0/0"),
		netip.MustParsePrefix("2001:db8::/32"), netip.PrefixFrom(netip.MustParseAddr("10.8.0.0"), 99)})
	same := func(t *rapid.T, v any, got []byte) {
		want, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Fatalf("%s\nis to be\n%s", got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		e := Endpoint{ID: text.Draw(t, "id"), Network: text.Draw(t, "network"), Docker: rapid.Bool().Draw(t, "docker"), Address: addr.Draw(t, "address"),
			Posture: text.Draw(t, "posture"), Refused: text.Draw(t, "refused"), App: text.Draw(t, "app"), Task: text.Draw(t, "task")}
		same(t, e, appendEndpoint(nil, &e))
		r := Route{Prefix: prefix.Draw(t, "prefix"), Via: addr.Draw(t, "via"), Host: text.Draw(t, "host")}
		same(t, r, appendRoute(nil, &r))
	})
}

// Items are published in the bytes that json.Marshal makes of them: also when
// they hold what none holds that the fold makes.
func TestItemsAreWrittenAsJSONMarshalDoes(t *testing.T) {
	text := rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-z0-9/._-]{1,20}`), rapid.String())
	texts := lists(text)
	prefix := rapid.SampledFrom([]netip.Prefix{{}, netip.MustParsePrefix("10.8.0.0/26"), netip.MustParsePrefix("2001:db8::/32")})
	ports := rapid.Custom(func(t *rapid.T) PortRange {
		return PortRange{rapid.Uint16().Draw(t, "first"), rapid.Uint16().Draw(t, "last")}
	})
	match := rapid.Custom(func(t *rapid.T) Match {
		return Match{texts.Draw(t, "sets"), texts.Draw(t, "not"), lists(ports).Draw(t, "ports"), texts.Draw(t, "ports"), lists(ports).Draw(t, "not"), texts.Draw(t, "not")}
	})
	icmp := rapid.Custom(func(t *rapid.T) *ICMP {
		return &ICMP{rapid.Int().Draw(t, "type"), rapid.Ptr(rapid.Int(), true).Draw(t, "code")}
	})
	rule := rapid.Custom(func(t *rapid.T) Rule {
		r := Rule{Action: Action(text.Draw(t, "action")), Protocol: rapid.IntRange(-1, 1).Draw(t, "protocol"), NotProtocol: rapid.IntRange(-1, 1).Draw(t, "not"),
			Policy: text.Draw(t, "policy"), Index: rapid.Int().Draw(t, "index")}
		if rapid.Bool().Draw(t, "rest") {
			r.ICMP, r.NotICMP, r.Source, r.Dest = icmp.Draw(t, "icmp"), icmp.Draw(t, "not"), match.Draw(t, "source"), match.Draw(t, "dest")
		}
		return r
	})
	tier := rapid.Custom(func(t *rapid.T) Tier { return Tier{text.Draw(t, "name"), lists(rule).Draw(t, "rules")} })
	program := rapid.Custom(func(t *rapid.T) Program {
		return Program{text.Draw(t, "id"), texts.Draw(t, "policies"), lists(tier).Draw(t, "ingress"), lists(tier).Draw(t, "egress")}
	})
	set := rapid.Custom(func(t *rapid.T) Set {
		return Set{text.Draw(t, "id"), SetType(text.Draw(t, "type")), text.Draw(t, "origin"), texts.Draw(t, "members")}
	})
	edit := rapid.Custom(func(t *rapid.T) SetEdit {
		return SetEdit{text.Draw(t, "id"), texts.Draw(t, "add"), texts.Draw(t, "remove")}
	})
	endpoint := rapid.Custom(func(t *rapid.T) Endpoint { return Endpoint{ID: text.Draw(t, "id"), App: text.Draw(t, "app")} })
	route := rapid.Custom(func(t *rapid.T) Route { return Route{Prefix: prefix.Draw(t, "prefix"), Host: text.Draw(t, "host")} })
	deletions := rapid.Custom(func(t *rapid.T) *Deletions {
		return &Deletions{lists(prefix).Draw(t, "routes"), texts.Draw(t, "endpoints"), texts.Draw(t, "programs"), texts.Draw(t, "sets")}
	})
	at := rapid.SampledFrom([]time.Time{{}, anHour, anHour.Truncate(time.Second), time.Unix(1e9, 120).In(time.FixedZone("", 5400)), time.Unix(1e9, 0).Local(), anHour.AddDate(8000, 0, 0), anHour.AddDate(-2100, 0, 0)})
	rapid.Check(t, func(t *rapid.T) {
		it := Item{Host: text.Draw(t, "host"), Rev: rapid.Uint64().Draw(t, "rev"), Cause: rapid.Uint64().Draw(t, "cause"), Time: at.Draw(t, "time"),
			Snapshot: rapid.Bool().Draw(t, "snapshot"), Sets: lists(set).Draw(t, "sets"), Members: lists(edit).Draw(t, "members"),
			Programs: lists(program).Draw(t, "programs"), Endpoints: lists(endpoint).Draw(t, "endpoints"), Routes: lists(route).Draw(t, "routes")}
		if rapid.Bool().Draw(t, "rare") {
			it.BGP, it.Delete = &BGP{ASN: 64512}, deletions.Draw(t, "delete")
		}
		want, wantErr := json.Marshal(it)
		got, err := AppendItem([]byte("before"), &it)
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("%v, json.Marshal says %v", err, wantErr)
		}
		if err == nil && string(got) != "before"+string(want) {
			t.Fatalf("%s\nis to be\n%s", got, want)
		}
		if k, ok := readKey(it.Host, want); err == nil && ok && k != (Key{it.Host, it.Rev, it.Cause}) {
			t.Fatalf("%s has the key %v", want, k)
		}
	})
}

// lists are short, empty, or none.
func lists[T any](of *rapid.Generator[T]) *rapid.Generator[[]T] {
	return rapid.OneOf(rapid.Just([]T(nil)), rapid.Just([]T{}), rapid.SliceOfN(of, 1, 3))
}
