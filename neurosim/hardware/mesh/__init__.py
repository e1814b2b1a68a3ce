"""Meshes of Mach–Zehnder interferometers: any matrix as phases, and what those phases make of it."""

from neurosim.hardware.mesh.build import driven_phases as driven_phases
from neurosim.hardware.mesh.build import interferometer as interferometer
from neurosim.hardware.mesh.build import mesh_matrix as mesh_matrix
from neurosim.hardware.mesh.build import quantized_phase as quantized_phase
from neurosim.hardware.mesh.decompose import MeshPhases as MeshPhases
from neurosim.hardware.mesh.decompose import mesh_phases as mesh_phases
from neurosim.hardware.mesh.fidelity import expected_infidelity as expected_infidelity
from neurosim.hardware.mesh.fidelity import mesh_fidelity as mesh_fidelity
from neurosim.hardware.mesh.fidelity import rounding_sigma as rounding_sigma
from neurosim.hardware.mesh.layout import Column as Column
from neurosim.hardware.mesh.layout import Layout as Layout
from neurosim.hardware.mesh.layout import heater_neighbours as heater_neighbours
from neurosim.hardware.mesh.layout import interferometers as interferometers
from neurosim.hardware.mesh.layout import mesh_columns as mesh_columns
from neurosim.hardware.mesh.program import MeshErrors as MeshErrors
from neurosim.hardware.mesh.program import MeshProgram as MeshProgram
from neurosim.hardware.mesh.program import Parts as Parts
from neurosim.hardware.mesh.program import cut_blocks as cut_blocks
from neurosim.hardware.mesh.program import joined_blocks as joined_blocks
from neurosim.hardware.mesh.program import locked as locked
from neurosim.hardware.mesh.program import mean_path as mean_path
from neurosim.hardware.mesh.program import mesh_blocks as mesh_blocks
from neurosim.hardware.mesh.program import mesh_program as mesh_program
