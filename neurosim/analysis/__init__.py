"""Looking into a model while it runs: recordings of its layers, and what they say of its neurons."""

from neurosim.analysis.equalization import Equalization as Equalization
from neurosim.analysis.equalization import equalize as equalize
from neurosim.analysis.equalization import equalizing_factors as equalizing_factors
from neurosim.analysis.firing import Activity as Activity
from neurosim.analysis.firing import LayerActivity as LayerActivity
from neurosim.analysis.firing import activity as activity
from neurosim.analysis.layer import LayerRecording as LayerRecording
from neurosim.analysis.recorder import record as record
from neurosim.analysis.recording import Recording as Recording
from neurosim.analysis.recording_reader import load_recording as load_recording
from neurosim.analysis.spike_trains import RateInterval as RateInterval
from neurosim.analysis.spike_trains import dead_units as dead_units
from neurosim.analysis.spike_trains import firing_rates as firing_rates
from neurosim.analysis.spike_trains import inter_spike_intervals as inter_spike_intervals
from neurosim.analysis.spike_trains import interval_variation as interval_variation
from neurosim.analysis.spike_trains import mean_rate as mean_rate
from neurosim.analysis.spike_trains import saturated_units as saturated_units
from neurosim.analysis.spike_trains import synchrony as synchrony
