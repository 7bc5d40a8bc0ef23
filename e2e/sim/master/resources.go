package master

import (
	"math"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Amount is how much of an agent something uses or may use.
type Amount struct {
	Cpus, Mem, Disk, Gpus float64
	Ports                 []mesos.Value_Range // sorted, disjoint
}

// AmountOf adds up resources.
func AmountOf(rs []mesos.Resource) Amount {
	var a Amount
	for _, r := range rs {
		switch r.Name {
		case "cpus":
			a.Cpus += r.GetScalar().GetValue()
		case "mem":
			a.Mem += r.GetScalar().GetValue()
		case "disk":
			a.Disk += r.GetScalar().GetValue()
		case "gpus":
			a.Gpus += r.GetScalar().GetValue()
		case "ports":
			a.Ports = unite(a.Ports, r.GetRanges().GetRange())
		}
	}
	return a
}

// Plus is the sum of two amounts.
func (a Amount) Plus(b Amount) Amount {
	return Amount{
		round(a.Cpus + b.Cpus), round(a.Mem + b.Mem), round(a.Disk + b.Disk), round(a.Gpus + b.Gpus),
		unite(a.Ports, b.Ports),
	}
}

// Minus takes b out of a.
func (a Amount) Minus(b Amount) Amount {
	return Amount{
		round(a.Cpus - b.Cpus), round(a.Mem - b.Mem), round(a.Disk - b.Disk), round(a.Gpus - b.Gpus),
		subtract(a.Ports, b.Ports),
	}
}

// Covers reports whether b fits into a.
func (a Amount) Covers(b Amount) bool {
	return a.Cpus >= b.Cpus && a.Mem >= b.Mem && a.Disk >= b.Disk && a.Gpus >= b.Gpus &&
		len(subtract(b.Ports, a.Ports)) == 0
}

// Empty reports whether nothing is left that a task could use.
func (a Amount) Empty() bool { return a.Cpus <= 0 && a.Mem <= 0 }

// Mesos counts scalars in thousandths (fixed point), so that sums are exact.
func round(x float64) float64 { return math.Round(x*1000) / 1000 }

// Resources prints an amount for the default role; portsFirst is the order of
// an offer. alloc adds the allocation that offers and running tasks carry.
func (a Amount) Resources(role, alloc string, portsFirst bool) []mesos.Resource {
	var rs []mesos.Resource
	finish := func(r mesos.Resource) {
		if role != "" {
			r.Role = &role
		}
		if alloc != "" {
			r.AllocationInfo = &mesos.Resource_AllocationInfo{Role: &alloc}
		}
		rs = append(rs, r)
	}
	ports := func() {
		if len(a.Ports) > 0 {
			finish(mesos.Resource{Name: "ports", Type: mesos.RANGES.Enum(), Ranges: &mesos.Value_Ranges{Range: a.Ports}})
		}
	}
	if portsFirst {
		ports()
	}
	for _, s := range []struct {
		name  string
		value float64
	}{{"cpus", a.Cpus}, {"gpus", a.Gpus}, {"mem", a.Mem}, {"disk", a.Disk}} {
		if s.value > 0 {
			finish(mesos.Resource{Name: s.name, Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: s.value}})
		}
	}
	if !portsFirst {
		ports()
	}
	return rs
}

func unite(a, b []mesos.Value_Range) []mesos.Value_Range {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y mesos.Value_Range) int { return int(int64(x.Begin) - int64(y.Begin)) })
	var out []mesos.Value_Range
	for _, r := range all {
		if n := len(out); n > 0 && r.Begin <= out[n-1].End+1 {
			out[n-1].End = max(out[n-1].End, r.End)
		} else {
			out = append(out, r)
		}
	}
	return out
}

func subtract(a, b []mesos.Value_Range) []mesos.Value_Range {
	var out []mesos.Value_Range
	for _, r := range a {
		begin := r.Begin
		for _, cut := range b { // sorted
			if cut.End < begin || cut.Begin > r.End {
				continue
			}
			if cut.Begin > begin {
				out = append(out, mesos.Value_Range{Begin: begin, End: cut.Begin - 1})
			}
			begin = cut.End + 1
		}
		if begin <= r.End {
			out = append(out, mesos.Value_Range{Begin: begin, End: r.End})
		}
	}
	return out
}
