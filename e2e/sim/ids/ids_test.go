package ids_test

import (
	"regexp"
	"testing"

	"github.com/taskwall/taskwall/e2e/sim/ids"
)

func TestIDsFollowTheSeed(t *testing.T) {
	a, b, other := ids.New(1), ids.New(1), ids.New(2)
	for range 3 {
		x, y, z := a.UUID(), b.UUID(), other.UUID()
		if x != y || x == z {
			t.Errorf("%s, %s, another seed %s", x, y, z)
		}
		if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(x) {
			t.Errorf("%s is no random UUID", x)
		}
	}
	if u := a.TimeUUID(); u[14] != '1' {
		t.Errorf("%s is no time-based UUID", u)
	}
}
