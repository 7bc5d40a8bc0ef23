package work

import (
	"encoding/json"
	"net/netip"
	"testing"

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
