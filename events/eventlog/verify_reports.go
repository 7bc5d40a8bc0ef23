package eventlog

import (
	"cmp"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// ReportsReport is what a ReportsVerifier found.
type ReportsReport struct {
	// Signed is the last report that a trusted checkpoint vouches for; 0: none.
	Signed uint64 `json:"signed"`
	// Unknown are the reports, up to this one, that cannot be checked since those
	// before them are no longer there; 0: none.
	Unknown uint64 `json:"unknown,omitempty"`
	// Ends is the last report that was signed, also when it is missing.
	Ends     uint64    `json:"-"`
	Problems []Problem `json:"problems,omitempty"` // From and To are reports
}

// ReportsVerifier checks the hosts' reports, as they come, against the marks in
// checkpoints.
type ReportsVerifier struct {
	reportsAtRest
	chains []*reportsChain // by their first report
}

type reportsAtRest struct {
	Report ReportsReport              `json:"report"`
	First  uint64                     `json:"first"` // report that came
	Last   uint64                     `json:"last"`
	Bytes  int                        `json:"bytes"` // of all that came
	Chains map[uint64]reportsProgress `json:"chains"`
}

// reportsChain are the marks that begin with the same report: one, unless a
// writer could not go on with that of another.
type reportsChain struct {
	reportsProgress
	first uint64
	marks []signedMark // still to come, by their last report
}

type reportsProgress struct {
	Known bool   `json:"known"`
	Hash  Hash   `json:"hash"`
	Since uint64 `json:"since"` // the last report of the mark before
}

type signedMark struct {
	ReportsMark
	at time.Time
}

// NewReportsVerifier checks against the marks in those of the checkpoints that
// a trusted key signed.
func NewReportsVerifier(checkpoints []Checkpoint, trust ...ed25519.PublicKey) *ReportsVerifier {
	v := new(ReportsVerifier)
	byFirst := map[uint64]*reportsChain{}
	for _, c := range checkpoints {
		if c.Reports == nil || c.Check(trust...) != nil { // told by the Verifier of the log
			continue
		}
		m := *c.Reports
		chain := byFirst[m.First]
		if chain == nil {
			chain = &reportsChain{first: m.First, reportsProgress: reportsProgress{Since: m.First - 1}}
			byFirst[m.First] = chain
			v.chains = append(v.chains, chain)
		}
		if n := len(chain.marks); n > 0 && chain.marks[n-1].ReportsMark == m {
			continue // the log grew, the reports did not
		}
		chain.marks = append(chain.marks, signedMark{m, c.Time})
	}
	slices.SortFunc(v.chains, func(a, b *reportsChain) int { return cmp.Compare(a.first, b.first) })
	for _, c := range v.chains {
		slices.SortStableFunc(c.marks, func(a, b signedMark) int { return cmp.Compare(a.Last, b.Last) })
		v.Report.Ends = max(v.Report.Ends, c.marks[len(c.marks)-1].Last)
	}
	return v
}

// Take takes the next report: see ReportsMark.Next.
func (v *ReportsVerifier) Take(seq uint64, stored time.Time, host string, data []byte) {
	if v.First == 0 {
		v.First = seq
	}
	for _, c := range v.chains {
		if seq < c.first {
			continue
		}
		if c.first >= v.First && v.Last < c.first {
			c.Known = true // from its beginning, where the hash is all zeros
		}
		v.settle(c, seq)
		if c.Known {
			c.Hash = ReportsMark{Hash: c.Hash}.Next(seq, stored, host, data).Hash
		}
	}
	v.Last = max(v.Last, seq)
	v.Bytes += len(data)
}

// settle compares the reports up to here with the marks before the next one.
func (v *ReportsVerifier) settle(c *reportsChain, next uint64) {
	for len(c.marks) > 0 && c.marks[0].Last < next {
		m := c.marks[0]
		c.marks = c.marks[1:]
		switch {
		case m.Last+1 < v.First: // no longer kept, with all before
			continue
		case !c.Known:
			v.Report.Unknown = max(v.Report.Unknown, m.Last)
		case c.Hash == m.Hash:
			v.Report.Signed = max(v.Report.Signed, m.Last)
		case len(v.Report.Problems) < maxProblems:
			v.Report.Problems = append(v.Report.Problems, Problem{min(c.Since+1, m.Last), m.Last,
				"altered, removed, inserted or moved among them: not what the checkpoint of " + m.at.UTC().Format(time.RFC3339) + " was signed for"})
		}
		// Go on from what was signed: the next mark speaks of what came since.
		c.Known, c.Hash, c.Since = true, m.Hash, max(c.Since, m.Last)
	}
}

// End closes the report. Not whole, it was not read to the end.
func (v *ReportsVerifier) End(whole bool) *ReportsReport {
	for _, c := range v.chains {
		if v.Last >= c.first {
			v.settle(c, v.Last+1)
		}
	}
	if whole && v.Report.Ends > v.Last {
		v.Report.Problems = append(v.Report.Problems, Problem{v.Last + 1, v.Report.Ends, "missing at the end: a checkpoint was signed for them"})
	}
	if v.Report.Unknown < v.First { // nothing of what is kept
		v.Report.Unknown = 0
	}
	return &v.Report
}

// MarshalJSON writes down how far the check has come.
func (v *ReportsVerifier) MarshalJSON() ([]byte, error) {
	a := v.reportsAtRest
	a.Chains = map[uint64]reportsProgress{}
	for _, c := range v.chains {
		a.Chains[c.first] = c.reportsProgress
	}
	return json.Marshal(a)
}

// UnmarshalJSON brings a verifier, new and with all checkpoints, to where one
// that was written down had come.
func (v *ReportsVerifier) UnmarshalJSON(data []byte) error {
	ends := v.Report.Ends
	if err := json.Unmarshal(data, &v.reportsAtRest); err != nil {
		return fmt.Errorf("going on with the check of the reports: %w", err)
	}
	v.Report.Ends = ends
	for _, c := range v.chains {
		c.reportsProgress = v.Chains[c.first]
		for len(c.marks) > 0 && c.marks[0].Last < v.Last {
			c.marks = c.marks[1:]
		}
	}
	return nil
}
