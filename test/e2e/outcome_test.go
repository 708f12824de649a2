package e2e

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/talkd/talkd/load"
)

// outcome is what people saw of a failure.
type outcome struct {
	name         string
	leader, home string
	homeAfter    string
	at, until    time.Duration
	busy         bool // the machine was: the times say little

	usual   flow   // between all, before it
	stay    flow   // between people at nodes that nothing happened to and that reach each other
	severed flow   // from nodes that the receiver's node does not hear
	back    []back // of each person who lost the connection
	seen    int    // joins and leaves that were told to those who stayed
	stayers int
	fresh   *probed       // nil: nobody asked for one
	well    time.Duration // after it was mended, until all heard all
}

// flow is the worst of some streams.
type flow struct {
	streams          int
	lost, sent       int // of both kinds
	lostAudio        int
	audio, video     time.Duration // longest time without a packet
	silence, picture time.Duration // longest run that never came
}

func (f *flow) add(k load.Kind, h load.Heard) {
	f.streams++
	f.lost += h.Lost
	f.sent += h.Sent
	if k == load.Audio {
		f.lostAudio += h.Lost
		f.audio, f.silence = max(f.audio, h.Gap), max(f.silence, h.Silence)
	} else {
		f.video, f.picture = max(f.video, h.Gap), max(f.picture, h.Silence)
	}
}

// hear adds what one received of another that was sent between two moments.
func (f *flow) hear(receiver, sender *load.Person, from, to time.Duration) {
	for _, k := range []load.Kind{load.Audio, load.Video} {
		f.add(k, receiver.Ear(sender.Number(), k).Between(from, to, sender.Sent(k)))
	}
}

func (f flow) String() string {
	if f.streams == 0 {
		return "-"
	}
	return fmt.Sprintf("%d of %d lost (%d of audio), longest run %s of audio, %s of video; gaps %s, %s",
		f.lost, f.sent, f.lostAudio, ms(f.silence), ms(f.picture), ms(f.audio), ms(f.video))
}

// back is how somebody came back, counted from the failure and from when the
// client noticed.
type back struct {
	noticed  time.Duration // after the failure
	session  time.Duration // from then until a node had the session
	hears    time.Duration // from then until something of everybody came
	heard    time.Duration // from then until everybody heard something
	same     bool          // session
	complete bool          // hears and is heard within the time
}

func (b back) media() time.Duration { return max(b.hears, b.heard) }

// look finds out what was seen from the failure on.
func (l *lab) look(c *call, o *outcome, victims []*machine) {
	o.usual = c.seen(o.at-labSteady, o.at)
	went := make(map[*load.Person]load.Incident)
	for _, p := range c.people {
		for _, i := range p.Incidents() {
			if _, ok := went[p]; !ok && i.What == "lost" && i.Back >= o.at {
				went[p] = i
			}
		}
	}
	hit := func(p *load.Person) bool { return slices.Contains(victims, l.byID(c.at[p].Node)) }
	for _, r := range c.people {
		if _, gone := went[r]; gone || hit(r) {
			continue
		}
		o.stayers++
		o.seen += len(r.ComingAndGoing())
		for _, s := range c.people {
			if _, gone := went[s]; gone || hit(s) || s == r {
				continue
			}
			to := &o.stay
			if l.byID(c.at[r].Node).deaf[l.byID(c.at[s].Node).ip] {
				to = &o.severed
			}
			// What was sent in the last second may be on its way.
			to.hear(r, s, o.at-time.Second, o.until-time.Second)
		}
	}
	for p, i := range went {
		b := back{noticed: i.At - o.at, session: i.Back - i.At, same: i.Session, complete: true}
		for _, other := range c.people {
			if _, gone := went[other]; other == p || gone {
				continue
			}
			for _, k := range []load.Kind{load.Audio, load.Video} {
				hears := p.Ear(other.Number(), k).FirstAfter(i.At, i.Back)
				heard := other.Ear(p.Number(), k).FirstAfter(i.At, i.At)
				b.complete = b.complete && hears > 0 && heard > 0
				b.hears, b.heard = max(b.hears, hears-i.At), max(b.heard, heard-i.At)
			}
		}
		o.back = append(o.back, b)
	}
	slices.SortFunc(o.back, func(a, b back) int { return cmp.Compare(a.media(), b.media()) })
}

func (o *outcome) backs() string {
	if len(o.back) == 0 {
		return "nobody had to"
	}
	same, complete := 0, 0
	var noticed time.Duration
	for _, b := range o.back {
		noticed = max(noticed, b.noticed)
		if b.same {
			same++
		}
		if b.complete {
			complete++
		}
	}
	median, worst := o.back[len(o.back)/2], o.back[len(o.back)-1]
	return fmt.Sprintf("noticed within %s; from then: session %s, media %s, worst %s; %d of %d complete, %d kept the session",
		ms(noticed), ms(median.session), ms(median.media()), ms(worst.media()), complete, len(o.back), same)
}

func (o *outcome) rooms() string {
	switch {
	case o.fresh == nil:
		return "not asked for"
	case o.fresh.after == 0:
		return "none within " + ms(o.until-o.at) + ": " + strings.TrimSpace(cmp.Or(o.fresh.refused, "no answer"))
	case o.fresh.refused != "":
		return "after " + ms(o.fresh.after) + ", refused before"
	}
	return "after " + ms(o.fresh.after)
}

// table is for people, and for docs/failures.md.
func table(rows []outcome) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', tabwriter.Debug)
	fmt.Fprintln(w, "what\tleader, home\thome after\tgaps just before\twho stays\tjoins and leaves they were told\twho had to go\ta new room\tall well after it is mended\t")
	for _, o := range rows {
		name := o.name
		if o.severed.streams > 0 {
			name += fmt.Sprintf(" (what is severed is silent for %s)", ms(o.severed.audio))
		}
		if o.busy {
			name += " (busy machine)"
		}
		fmt.Fprintf(w, "%s\t%s, %s\t%s\t%s, %s\t%s\t%d to %d people\t%s\t%s\t%s\t\n",
			name, o.leader, o.home, cmp.Or(o.homeAfter, "none"), ms(o.usual.audio), ms(o.usual.video), o.stay, o.seen, o.stayers, o.backs(), o.rooms(), ms(o.well))
	}
	_ = w.Flush() // into memory
	return b.String()
}

func ms(d time.Duration) string {
	if d >= 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}
