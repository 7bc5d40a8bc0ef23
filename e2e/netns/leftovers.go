package netns

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
)

// Leftovers lists what still carries the prefix on this machine: named
// namespaces, links of the root namespace, and mounts. A test that cleaned up
// finds none.
func Leftovers(prefix string) []string {
	var left []string
	names, _ := filepath.Glob("/run/netns/" + prefix + "*")
	for _, n := range names {
		left = append(left, "namespace "+n)
	}
	if links, err := netlink.LinkList(); err == nil {
		for _, l := range links {
			if strings.HasPrefix(l.Attrs().Name, prefix) {
				left = append(left, "link "+l.Attrs().Name)
			}
		}
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return left
	}
	defer mounts.Close()
	for s := bufio.NewScanner(mounts); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) > 4 && strings.Contains(fields[4], "/"+prefix) && !strings.HasPrefix(fields[4], "/run/netns/") {
			left = append(left, "mount "+fields[4])
		}
	}
	return left
}
