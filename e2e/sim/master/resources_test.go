package master_test

import (
	"fmt"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/taskwall/taskwall/e2e/sim/master"
)

func ports(list ...uint64) []mesos.Value_Range {
	var out []mesos.Value_Range
	for i := 0; i < len(list); i += 2 {
		out = append(out, mesos.Value_Range{Begin: list[i], End: list[i+1]})
	}
	return out
}

func TestAmounts(t *testing.T) {
	total := master.Amount{Cpus: 4, Mem: 2048, Ports: ports(31000, 31100)}
	used := master.Amount{Cpus: 0.1, Mem: 32, Ports: ports(31005, 31005, 31010, 31020)}
	left := total.Minus(used)
	if left.Cpus != 3.9 || fmt.Sprint(left.Ports) != fmt.Sprint(ports(31000, 31004, 31006, 31009, 31021, 31100)) {
		t.Errorf("left %+v", left)
	}
	if back := left.Plus(used); fmt.Sprint(back) != fmt.Sprint(total) {
		t.Errorf("%+v, want %+v", back, total)
	}
	if !total.Covers(used) || left.Covers(used) {
		t.Error("31005 is in the whole, and not in what is left")
	}
	var sum master.Amount
	for range 10 { // fixed point: no 0.9999999999999999
		sum = sum.Plus(master.Amount{Cpus: 0.1})
	}
	if sum.Cpus != 1 {
		t.Errorf("ten tenths are %v", sum.Cpus)
	}
}
