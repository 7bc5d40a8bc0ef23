package strict_test

import (
	"testing"

	"github.com/taskwall/taskwall/policy/strict"
)

func TestVisible(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, but, want string }{
		{"/shop/web", "", "/shop/web"},
		{"Zahlungsverkehr für 支払い", "", "Zahlungsverkehr für 支払い"},
		{"\u202egnitnuocca/\u202c", "", `\u202egnitnuocca/\u202c`},
		{"we\u200bb", "", `we\u200bb`},
		{"\x1b[31mred\x9b\u009b", "", `\u001b[31mred` + "\ufffd" + `\u009b`},
		{"a\tb\nc\r", "\n\t", "a\tb\nc" + `\u000d`},
		{"a\tb\n", "", `a\u0009b\u000a`},
		{"tag\U000e0041", "", `tag\udb40\udc41`},
	} {
		if got := strict.Visible(c.text, c.but); got != c.want {
			t.Errorf("%q is shown as %q, not %q", c.text, got, c.want)
		}
	}
}
