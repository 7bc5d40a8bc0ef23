package bus_test

import (
	"testing"

	"github.com/taskwall/taskwall/events/bus/bustest"
)

func TestMain(m *testing.M) { bustest.Main(m) }
