package resource

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/policy/selector"
	"github.com/taskwall/taskwall/policy/strict"
)

// checker collects the issues of one resource.
type checker struct {
	issues []strict.Issue
	// written says that people wrote the resource. What the log holds may be older
	// than a check: it was accepted once, and is read as it always was.
	written bool
}

func (c *checker) fail(p strict.Path, message, instead string) {
	c.issues = append(c.issues, strict.Issue{Path: p, Message: message, Instead: instead})
}

var (
	validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
	// An environment is the value of a label: less strict than a name, but it
	// must not need quoting.
	validNamespace = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_./-]{0,251}[A-Za-z0-9])?$`)
	validKey       = regexp.MustCompile(`^[a-zA-Z0-9_./-]{1,512}$`)
)

// header checks what all kinds share.
func (c *checker) header(h *Header, namespaced bool) {
	if own := ownVersion(h.Kind); h.APIVersion != own && h.APIVersion != CalicoVersion {
		c.fail(strict.Path{"apiVersion"}, fmt.Sprintf("%s has no version %q", h.Kind, h.APIVersion), "write "+own)
	}
	name := h.Metadata.Name
	switch {
	case name == "":
		c.fail(strict.Path{"metadata", "name"}, "no name", "write metadata.name")
	case !validName.MatchString(name):
		c.fail(strict.Path{"metadata", "name"}, fmt.Sprintf("%q is no name", name), "use a-z, 0-9, - and ., beginning and ending with a letter or digit")
	}
	ns := h.Metadata.Namespace
	switch {
	case namespaced && ns == "":
		c.fail(strict.Path{"metadata", "namespace"}, "no namespace: "+h.Kind+" applies to one environment", "write metadata.namespace, or kind Global"+strings.TrimPrefix(h.Kind, "Staged"))
	case namespaced && !validNamespace.MatchString(ns):
		c.fail(strict.Path{"metadata", "namespace"}, fmt.Sprintf("%q is no environment", ns), "use letters, digits, -, _, . and /")
	case !namespaced && ns != "":
		c.fail(strict.Path{"metadata", "namespace"}, h.Kind+" has no namespace", "remove it")
	}
	for _, k := range sortedKeys(h.Metadata.Labels) {
		p := strict.Path{"metadata", "labels", k}
		switch {
		case !validKey.MatchString(k):
			c.fail(p, fmt.Sprintf("%q is no label", k), "use a-z, A-Z, 0-9, _, ., / and -")
		case h.labelled() && (strings.HasPrefix(k, "taskwall/") || strings.HasPrefix(k, "projectcalico.org/")):
			c.fail(p, "a label that only the cluster's facts can set", "choose a key without this prefix")
		}
	}
}

// labelled reports whether selectors see the kind's labels: those of the others
// are notes, such as the projectcalico.org/tier that Calico puts on policies.
func (h *Header) labelled() bool { return h.Kind == KindGlobalNetworkSet || h.Kind == KindNetworkSet }

// selector checks a selector's text and returns it; nil when it is wrong. Like
// Calico, it takes global() in a namespaceSelector only: elsewhere it would be
// everything, and whoever writes it means the opposite.
func (c *checker) selector(p strict.Path, text string) *selector.Selector {
	s, err := selector.Parse(text)
	switch {
	case err != nil:
		c.selectorError(p, err)
		return nil
	case c.written && s.Global():
		c.fail(p, "global() is for a namespaceSelector", "write it there, or all() for everything")
		return nil
	}
	return s
}

func (c *checker) selectorError(p strict.Path, err error) {
	var e *selector.Error
	if !errors.As(err, &e) {
		c.fail(p, err.Error(), "")
		return
	}
	c.issues = append(c.issues, strict.Issue{Path: p, Column: e.Column, Message: e.Message, Instead: e.Instead})
}

func (c *checker) namespaceSelector(p strict.Path, text string) {
	s, err := selector.Parse(text)
	if err == nil {
		_, err = selector.Namespaces(s)
	}
	if err != nil {
		c.selectorError(p, err)
	}
}

// nets checks a list of networks.
func (c *checker) nets(p strict.Path, nets []string) {
	for i, text := range nets {
		if _, err := ParseNet(text); err != nil {
			c.fail(p.Under(i), fmt.Sprintf("%q is no network", text), "write an address with a prefix length, such as 10.1.0.0/16")
		}
	}
}

// ParseNet reads a network, or an address as the network of it alone. Bits
// beyond the prefix length are dropped, as Calico does.
func ParseNet(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("reading network %q: %w", text, err)
	}
	if a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("reading network %q: it has a zone", text)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func (c *checker) oneOf(p strict.Path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		c.fail(p, fmt.Sprintf("%q is not possible here", value), strict.DidYouMean(value, allowed))
	}
}

func (t *Tier) check(c *checker) {
	c.header(&t.Header, false)
	if t.Spec.DefaultAction != "" {
		c.oneOf(strict.Path{"spec", "defaultAction"}, t.Spec.DefaultAction, "Deny", "Pass")
	}
	if t.Metadata.Name == DefaultTier && t.Spec.Order != nil && *t.Spec.Order != DefaultTierOrder {
		c.fail(strict.Path{"spec", "order"}, "the default tier's order is fixed", "write 1000000, or use another tier")
	}
}

func (s *Set) check(c *checker) {
	c.header(&s.Header, s.Kind == KindNetworkSet)
	c.nets(strict.Path{"spec", "nets"}, s.Spec.Nets)
}

func (g *Guard) check(c *checker) {
	c.header(&g.Header, false)
	spec := strict.Path{"spec"}
	switch label := g.Spec.Label; {
	case label == "":
		c.fail(spec.Under("label"), "no label", "write the key of the label to guard")
	case !validKey.MatchString(label):
		c.fail(spec.Under("label"), fmt.Sprintf("%q is no label", label), "use a-z, A-Z, 0-9, _, ., / and -")
	case strings.HasPrefix(label, "taskwall/"):
		c.fail(spec.Under("label"), "taskwall/ labels are facts that no app can claim", "guard a label that apps write")
	}
	for name, list := range map[string][]string{"apps": g.Spec.Apps, "groups": g.Spec.Groups} {
		for i, id := range list {
			if !strings.HasPrefix(id, "/") || len(id) > 1 && strings.HasSuffix(id, "/") {
				c.fail(spec.Under(name, i), fmt.Sprintf("%q is no absolute path", id), "write it as Marathon shows it, such as /shop/pay")
			}
		}
	}
}

func (p *Pool) check(c *checker) {
	c.header(&p.Header, false)
	spec := strict.Path{"spec"}
	cidr, err := netip.ParsePrefix(p.Spec.CIDR)
	switch {
	case err != nil:
		c.fail(spec.Under("cidr"), fmt.Sprintf("%q is no network", p.Spec.CIDR), "write one such as 10.64.0.0/16")
	case !cidr.Addr().Is4():
		c.fail(spec.Under("cidr"), "endpoints have IPv4 addresses only", "write an IPv4 network")
	case cidr != cidr.Masked():
		c.fail(spec.Under("cidr"), "the address has bits beyond the prefix length", "write "+cidr.Masked().String())
	case cidr.Bits() > p.BlockBits():
		c.fail(spec.Under("cidr"), fmt.Sprintf("the pool is smaller than one block of /%d", p.BlockBits()), "write a wider network, or a larger blockSize")
	}
	if b := p.Spec.BlockSize; b != 0 && (b < 20 || b > 32) {
		c.fail(spec.Under("blockSize"), fmt.Sprintf("a block of /%d", b), "write 20 to 32")
	}
	if m := p.Spec.IPIPMode; m != "" && m != "Never" {
		c.fail(spec.Under("ipipMode"), "there is no overlay", "write Never, or remove it")
	}
	if m := p.Spec.VXLANMode; m != "" && m != "Never" {
		c.fail(spec.Under("vxlanMode"), "there is no overlay", "write Never, or remove it")
	}
	if p.Spec.NATOutgoing {
		c.fail(spec.Under("natOutgoing"), "addresses are never translated", "write false, or remove it")
	}
	if p.Spec.DisableBGPExport {
		c.fail(spec.Under("disableBGPExport"), "every block that a host holds is announced", "write false, and keep it from a peer with a BGPFilter")
	}
	if s := p.Spec.NodeSelector; s != "" && s != "all()" {
		c.fail(spec.Under("nodeSelector"), "pools are chosen by endpoint, not by host", "write all() here, and the annotation "+PoolSelector+" with a selector such as taskwall/host == 'h1'")
	}
	for i, u := range p.Spec.AllowedUses {
		if u != "Workload" {
			c.fail(spec.Under("allowedUses", i), fmt.Sprintf("no addresses are drawn for %q", u), "write Workload, or remove it")
		}
	}
	if m := p.Spec.AssignmentMode; m != "" && m != "Automatic" {
		c.fail(spec.Under("assignmentMode"), "addresses are always assigned automatically", "write Automatic, or disabled: true")
	}
	c.selector(strict.Path{"metadata", "annotations", PoolSelector}, p.Metadata.Annotations[PoolSelector])
}

// BlockBits is the prefix length of a host's block of the pool.
func (p *Pool) BlockBits() int {
	if p.Spec.BlockSize == 0 {
		return 26
	}
	return p.Spec.BlockSize
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
