//! The kinds of operation, and sets of them.

/// The kinds of operation, as in `shaders/program.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub(crate) enum Kernel {
    Sample,
    NormaliseInput,
    ForwardLinear,
    ForwardRectified,
    ForwardTanh,
    ForwardNormalised,
    ForwardInference,
    TemporalDifference,
    PolicyObjective,
    BackwardRectified,
    BackwardTanh,
    BackwardNormalised,
    BackwardInputNorm,
    BackwardParameters,
    SoftUpdate,
    ResetEnvironments,
    StepEnvironments,
    ClearMeasurements,
    FollowedAction,
    TangentRectified,
    TangentTanh,
    CompatibleDifference,
    BeginUpdate,
    CriticLoss,
    ActorLoss,
    LoadBand,
    TemporalDifferenceBand,
    PolicyObjectiveBand,
    SampleBand,
    ActivateTanh,
    SampleRows,
}

impl Kernel {
    pub const ALL: &'static [Kernel; 31] = &[
        Kernel::Sample,
        Kernel::NormaliseInput,
        Kernel::ForwardLinear,
        Kernel::ForwardRectified,
        Kernel::ForwardTanh,
        Kernel::ForwardNormalised,
        Kernel::ForwardInference,
        Kernel::TemporalDifference,
        Kernel::PolicyObjective,
        Kernel::BackwardRectified,
        Kernel::BackwardTanh,
        Kernel::BackwardNormalised,
        Kernel::BackwardInputNorm,
        Kernel::BackwardParameters,
        Kernel::SoftUpdate,
        Kernel::ResetEnvironments,
        Kernel::StepEnvironments,
        Kernel::ClearMeasurements,
        Kernel::FollowedAction,
        Kernel::TangentRectified,
        Kernel::TangentTanh,
        Kernel::CompatibleDifference,
        Kernel::BeginUpdate,
        Kernel::CriticLoss,
        Kernel::ActorLoss,
        Kernel::LoadBand,
        Kernel::TemporalDifferenceBand,
        Kernel::PolicyObjectiveBand,
        Kernel::SampleBand,
        Kernel::ActivateTanh,
        Kernel::SampleRows,
    ];

    /// The kinds that only networks with batch norm have.
    pub const BATCH_NORM: &'static [Kernel] = &[
        Kernel::NormaliseInput,
        Kernel::ForwardNormalised,
        Kernel::ForwardInference,
        Kernel::BackwardNormalised,
        Kernel::BackwardInputNorm,
    ];

    pub fn from_kind(kind: u32) -> Self {
        Self::ALL[kind as usize]
    }

    /// The kinds that it shares a pipeline with on a software driver, itself among them. All of their code runs there, whichever
    /// is asked for, so that they differ in little; a tanh is worth it where it saves a dispatch (`joins_tanh`).
    pub fn family(self, joins_tanh: bool) -> &'static [Kernel] {
        const FAMILIES: [&[Kernel]; 3] = [
            &[Kernel::ForwardRectified, Kernel::ForwardLinear, Kernel::SampleRows],
            &[Kernel::BackwardNormalised, Kernel::BackwardInputNorm],
            &[Kernel::TangentRectified, Kernel::TangentTanh],
        ];
        const WITH_TANH: [&[Kernel]; 2] = [
            &[Kernel::ForwardRectified, Kernel::ForwardLinear, Kernel::SampleRows, Kernel::ActivateTanh],
            &[Kernel::BackwardRectified, Kernel::BackwardTanh],
        ];
        let with_tanh = WITH_TANH.into_iter().filter(|_| joins_tanh);
        let alone = &Self::ALL[self as usize..=self as usize];
        with_tanh.chain(FAMILIES).find(|family| family.contains(&self)).unwrap_or(alone)
    }

    /// Whether it treats every row alike, and alone.
    pub fn treats_rows_alike(self) -> bool {
        matches!(
            self,
            Kernel::ForwardLinear
                | Kernel::ForwardRectified
                | Kernel::ForwardTanh
                | Kernel::ActivateTanh
                | Kernel::BackwardRectified
                | Kernel::BackwardTanh
                | Kernel::SampleRows
        )
    }

    /// The name of its constant in `shaders/program.wgsl`.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Sample => "SAMPLE",
            Kernel::NormaliseInput => "NORMALISE_INPUT",
            Kernel::ForwardLinear => "FORWARD_LINEAR",
            Kernel::ForwardRectified => "FORWARD_RECTIFIED",
            Kernel::ForwardTanh => "FORWARD_TANH",
            Kernel::ForwardNormalised => "FORWARD_NORMALISED",
            Kernel::ForwardInference => "FORWARD_INFERENCE",
            Kernel::TemporalDifference => "TEMPORAL_DIFFERENCE",
            Kernel::PolicyObjective => "POLICY_OBJECTIVE",
            Kernel::BackwardRectified => "BACKWARD_RECTIFIED",
            Kernel::BackwardTanh => "BACKWARD_TANH",
            Kernel::BackwardNormalised => "BACKWARD_NORMALISED",
            Kernel::BackwardInputNorm => "BACKWARD_INPUT_NORM",
            Kernel::BackwardParameters => "BACKWARD_PARAMETERS",
            Kernel::SoftUpdate => "SOFT_UPDATE",
            Kernel::ResetEnvironments => "RESET_ENVIRONMENTS",
            Kernel::StepEnvironments => "STEP_ENVIRONMENTS",
            Kernel::ClearMeasurements => "CLEAR_MEASUREMENTS",
            Kernel::FollowedAction => "FOLLOWED_ACTION",
            Kernel::TangentRectified => "TANGENT_RECTIFIED",
            Kernel::TangentTanh => "TANGENT_TANH",
            Kernel::CompatibleDifference => "COMPATIBLE_DIFFERENCE",
            Kernel::BeginUpdate => "BEGIN_UPDATE",
            Kernel::CriticLoss => "CRITIC_LOSS",
            Kernel::ActorLoss => "ACTOR_LOSS",
            Kernel::LoadBand => "LOAD_BAND",
            Kernel::TemporalDifferenceBand => "TEMPORAL_DIFFERENCE_BAND",
            Kernel::PolicyObjectiveBand => "POLICY_OBJECTIVE_BAND",
            Kernel::SampleBand => "SAMPLE_BAND",
            Kernel::ActivateTanh => "ACTIVATE_TANH",
            Kernel::SampleRows => "SAMPLE_ROWS",
        }
    }
}

/// A set of kinds: `KINDS` of a pipeline, a bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Kinds(u32);

impl Kinds {
    pub fn of(kernel: Kernel) -> Self {
        Self(1 << kernel as u32)
    }

    pub fn iter(self) -> impl Iterator<Item = Kernel> {
        Kernel::ALL.iter().copied().filter(move |&kernel| self.0 & Self::of(kernel).0 != 0)
    }

    /// `KINDS`.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Their names, as in `shaders/program.wgsl`.
    pub fn names(self) -> String {
        self.iter().map(Kernel::name).collect::<Vec<_>>().join(" + ")
    }

    /// With the [families](Kernel::family) of all.
    pub fn with_families(self, joins_tanh: bool) -> Self {
        self.iter().flat_map(|kernel| kernel.family(joins_tanh)).copied().collect()
    }

    /// Whether one of them calls what an environment's author wrote.
    pub fn run_the_environment(self) -> bool {
        self.iter().any(|kernel| matches!(kernel, Kernel::ResetEnvironments | Kernel::StepEnvironments))
    }

    /// With all of batch norm's where there is one of them.
    pub fn with_batch_norm(self) -> Self {
        let normalises = self.iter().any(|kernel| Kernel::BATCH_NORM.contains(&kernel));
        self.iter().chain(Kernel::BATCH_NORM.iter().copied().filter(|_| normalises)).collect()
    }
}

impl FromIterator<Kernel> for Kinds {
    fn from_iter<T: IntoIterator<Item = Kernel>>(kernels: T) -> Self {
        Self(kernels.into_iter().fold(0, |kinds, kernel| kinds | Self::of(kernel).0))
    }
}
