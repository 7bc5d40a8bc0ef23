package nflog

import (
	"encoding/hex"
	"testing"

	"github.com/mdlayher/netlink"
)

func FuzzDecode(f *testing.F) {
	syn, err := hex.DecodeString("4500003c1c4640004006b1e60a0000010a000002c35d14380000000000000000a002faf0fe300000")
	if err != nil {
		f.Fatal(err)
	}
	b, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: attrPrefix, Data: []byte("tw:deny:e x\x00")}, {Type: attrPayload, Data: syn}})
	if err != nil {
		f.Fatal(err)
	}
	if p, ok := decode(b); !ok || p.Prefix != "tw:deny:e x" || p.Src.String() != "10.0.0.1" || p.Dst.String() != "10.0.0.2" || p.Proto != 6 || p.DstPort != 5176 {
		f.Fatalf("decoded %+v, %v", p, ok)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, ok := decode(b); ok && (!p.Src.Is4() || !p.Dst.Is4()) {
			t.Errorf("decoded %+v", p)
		}
	})
}
