package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events/bus/bustest"
)

func TestMain(m *testing.M) { bustest.Main(m) }

func contextWithin(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(bustest.Context(t), d)
}
