package signaling

import (
	"slices"

	"github.com/talkd/talkd/signaling/wire"
)

// Features are those that are there. Clients replace the list of the welcome by
// that of the hello, so they are the same.
func (c Config) Features() []string {
	all := []string{
		wire.FeatureAudioVideoPermissions,
		wire.FeatureChatRelay,
		wire.FeatureDialout,
		wire.FeatureFederation,
		wire.FeatureHelloV2,
		wire.FeatureInCallAll,
		wire.FeatureJoinFeatures,
		wire.FeatureMCU,
		wire.FeaturePing,
		wire.FeatureMove,
		wire.FeatureOfferCodecs,
		wire.FeatureRecipientCall,
		wire.FeatureRedirect,
		wire.FeatureResumeMedia,
		wire.FeatureServerInfo,
		wire.FeatureSimulcast,
		wire.FeatureSwitchTo,
		wire.FeatureTransientData,
		wire.FeatureTransientSessionData,
		wire.FeatureUpdateSDP,
		wire.FeatureWelcome,
	}
	if c.NoFederation {
		all = slices.DeleteFunc(all, func(f string) bool { return f == wire.FeatureFederation })
	}
	return all
}
